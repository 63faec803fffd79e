//! The host's switch for grace periods is on only while programs are attached. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_datapath::{Datapath, Expedited, Settings};

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Others on this host may have it on for a moment.
fn wait_until_off() {
    let started = Instant::now();
    while fs::read_to_string(SWITCH).unwrap().trim() != "0" {
        assert!(started.elapsed() < Duration::from_secs(30), "{SWITCH} stays on");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_a_dead_process_left_on_is_turned_off_and_our_own_always_is() {
    let base = PathBuf::from(format!("/sys/fs/bpf/portcullis-test-{}-expedite", std::process::id()));
    fs::create_dir(&base).unwrap();
    let mark = base.join("expedited");
    // No process is 1 and began at that time.
    symlink("1-18446744073709551615", &mark).unwrap();
    fs::write(SWITCH, "1").unwrap();
    let opened = Datapath::open(&base, Settings::default()).unwrap();
    assert!(fs::symlink_metadata(&mark).is_err(), "the mark is still there");
    wait_until_off();

    let mut was_on = false;
    for _ in 0..20 {
        let outer = Expedited::for_attachments(1);
        let inner = Expedited::for_attachments(100);
        was_on |= fs::read_to_string(SWITCH).unwrap().trim() != "0";
        drop(outer);
        drop(inner);
        assert!(fs::symlink_metadata(&mark).is_err());
        wait_until_off();
    }
    assert!(was_on);
    opened.datapath.unpin_all();
    fs::remove_dir(&base).unwrap();
}
