use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::{FILE, Opened, Owner, Path, PathBuf, Record, Store, StoreError};

pub(super) fn record(n: u32) -> Record {
    let spec = serde_json::json!({
        "name": format!("web-{n}"),
        "interface": { "name": format!("veth{n}") },
        "addresses": [format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255), format!("fd00::{n:x}")],
        "workload": { "runtime": "docker", "container": format!("{n:064x}"), "labels": { "app": "web" } },
    });
    Record {
        id: format!("e{n:08}"),
        spec: serde_json::from_value(spec).unwrap(),
        owner: if n.is_multiple_of(2) { Owner::Api } else { Owner::File },
        since: "2026-11-21T10:00:00Z".parse().unwrap(),
        slot: n,
        origin: None,
    }
}

fn records(range: std::ops::Range<u32>) -> Vec<Record> {
    range.map(record).collect()
}

fn existing(dir: &Path) -> Vec<Record> {
    match Store::open(dir).unwrap() {
        (_, Opened::Existing(records)) => records,
        (_, other) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_put_is_there_after_opening_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/state");
    {
        let (store, opened) = Store::open(&dir).unwrap();
        assert_eq!(opened, Opened::Fresh);
        assert_eq!(store.all().unwrap(), []);
        store.put(&records(1..6)).unwrap();
        store.put(&[]).unwrap();
        store.remove(&[record(2).id.as_str(), "nobody"]).unwrap();
        let changed = Record { slot: 99, ..record(3) };
        store.put(std::slice::from_ref(&changed)).unwrap();
        assert_eq!(store.all().unwrap(), [record(1), changed, record(4), record(5)]);
        store.change(&[record(3)], &[record(5).id.as_str()]).unwrap();
    }
    assert_eq!(existing(&dir), [record(1), record(3), record(4)]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join(FILE)), 0o600);
}

#[test]
fn each_owner_replaces_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.put(&records(1..7)).unwrap();
    store.replace(Owner::Api, &[record(4), record(8)]).unwrap();
    assert_eq!(store.all().unwrap(), [1, 3, 4, 5, 8].map(record));
}

#[test]
fn ten_thousand_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let many = records(0..10_000);
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        let start = std::time::Instant::now();
        store.put(&many).unwrap();
        eprintln!("10,000 records: {:?}", start.elapsed());
    }
    let start = std::time::Instant::now();
    assert_eq!(existing(dir.path()), many);
    eprintln!("opened again: {:?}", start.elapsed());
}

#[test]
fn a_second_agent_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = Store::open(dir.path()).unwrap();
    let second = Store::open(dir.path()).unwrap_err();
    assert_eq!(second, StoreError::InUse { dir: dir.path().into(), pid: Some(std::process::id()) });
    assert!(second.to_string().contains("(pid ") && second.to_string().contains("--state-dir"), "{second}");
    drop(first);
    assert_eq!(existing(dir.path()), []);
}

#[test]
fn directories_that_cannot_be_used_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let message = Store::open(&path).unwrap_err().to_string();
        assert!(message.contains("is a file"), "{message}");
    }
    let open_to_all = dir.path().join("open");
    std::fs::create_dir(&open_to_all).unwrap();
    std::fs::set_permissions(&open_to_all, PermissionsExt::from_mode(0o777)).unwrap();
    let message = Store::open(&open_to_all).unwrap_err().to_string();
    assert!(message.contains("chmod 0700"), "{message}");
}

/// The file of a store with 300 records that was closed in good order.
fn sound_file(dir: &Path) -> Vec<u8> {
    let (store, _) = Store::open(dir).unwrap();
    store.put(&records(0..300)).unwrap();
    drop(store);
    std::fs::read(dir.join(FILE)).unwrap()
}

/// Opens a store whose file holds `bytes`: the records, or `None` where it was put aside as it was.
fn open_with(dir: &Path, bytes: &[u8], what: &str) -> Option<Vec<Record>> {
    std::fs::write(dir.join(FILE), bytes).unwrap();
    let (store, opened) = Store::open(dir).unwrap_or_else(|e| panic!("{what}: {e}"));
    match opened {
        Opened::Fresh => panic!("{what}: taken for nothing"),
        Opened::Existing(records) => Some(records),
        Opened::Damaged { kept_as, why } => {
            assert!(!why.contains('\n') && !why.is_empty(), "{what}: {why:?}");
            assert!(std::fs::read(&kept_as).unwrap() == bytes, "{what}: not kept as it was");
            std::fs::remove_file(kept_as).unwrap();
            // The new one works.
            store.put(&[record(1)]).unwrap();
            assert_eq!(store.all().unwrap(), [record(1)]);
            None
        }
    }
}

#[test]
fn damage_is_noticed_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let sound = sound_file(dir.path());
    eprintln!("300 records: {} bytes", sound.len());
    let garbage: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (what, bytes) in [
        ("empty", &[][..]),
        ("text", b"not a database"),
        ("garbage", &garbage),
        ("cut to a header", &sound[..512]),
        ("cut to a page", &sound[..4096]),
        ("cut in half", &sound[..sound.len() / 2]),
        ("zeros", &vec![0; sound.len()]),
    ] {
        assert_eq!(open_with(dir.path(), bytes, what), None, "{what}");
    }
    assert_eq!(open_with(dir.path(), &sound, "sound"), Some(records(0..300)));
}

#[test]
fn a_flipped_byte_anywhere_never_changes_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let sound = sound_file(dir.path());
    let (mut noticed, mut harmless) = (0, 0);
    // The header byte by byte, all else in steps that meet every page at several places.
    for at in (0..400).step_by(3).chain((400..sound.len()).step_by(1367)) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        match open_with(dir.path(), &bytes, &format!("byte {at}")) {
            Some(found) => {
                assert_eq!(found, records(0..300), "byte {at}");
                harmless += 1;
            }
            None => noticed += 1,
        }
    }
    eprintln!("{noticed} flips noticed, {harmless} in unused places");
    assert!(noticed > 20, "only {noticed} flips were noticed");
}

#[test]
fn a_directory_in_its_place_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(FILE)).unwrap();
    let (_, opened) = Store::open(dir.path()).unwrap();
    assert!(matches!(opened, Opened::Damaged { kept_as, .. } if kept_as.is_dir()));
}

#[test]
fn the_state_of_a_newer_agent_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = Store::open(dir.path()).unwrap();
        let newer = br#"{"version":99}"#;
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let insert = |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(super::ENDPOINTS).map_err(|e| text(&e))?;
            table.insert("x", &newer[..]).map(drop).map_err(|e| text(&e))
        };
        store.write(redb::Durability::Immediate, insert).unwrap();
    }
    let before = std::fs::read(dir.path().join(FILE)).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 99, .. }), "{error}");
    assert!(std::fs::read(dir.path().join(FILE)).unwrap() == before);
}

const WRITER_DIR: &str = "PORTCULLIS_STORE_TEST_DIR";
/// Records that the writer writes in one transaction.
const BATCH: u32 = 20;

/// Writes batch after batch and says so after each, until it is killed.
fn write_until_killed(dir: &Path) -> ! {
    let (store, opened) = Store::open(dir).unwrap();
    let mut next = match opened {
        Opened::Existing(records) => u32::try_from(records.len()).unwrap() / BATCH,
        Opened::Fresh => 0,
        Opened::Damaged { why, .. } => panic!("damaged: {why}"),
    };
    println!("open");
    loop {
        store.put(&records(next * BATCH..(next + 1) * BATCH)).unwrap();
        next += 1;
        println!("done {next}");
    }
}

/// Starts a writer, kills it `pause` after it has written `least` batches; how many there are by its words.
fn kill_a_writer(dir: &Path, least: usize, pause: std::time::Duration) -> Option<u32> {
    let name = format!("{}::a_kill_at_any_moment_loses_nothing", module_path!());
    let name = name.split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(WRITER_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("open")), "the writer did not open the store");
    let mut done = lines.filter_map(|line| line.strip_prefix("done ")?.parse().ok());
    let first = done.by_ref().take(least).last();
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    done.last().or(first)
}

#[test]
fn a_kill_at_any_moment_loses_nothing() {
    if let Some(dir) = std::env::var_os(WRITER_DIR) {
        write_until_killed(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut said = 0;
    for round in 0..25 {
        // Pauses that are no multiple of what a transaction takes.
        let pause = std::time::Duration::from_micros(137 * (round * round));
        let least = usize::from(round % 2 == 1);
        said = kill_a_writer(dir.path(), least, pause).unwrap_or(said);
        let found = existing(dir.path());
        let batches = u32::try_from(found.len()).unwrap() / BATCH;
        assert_eq!(found, records(0..batches * BATCH), "round {round}: a part of a transaction");
        assert!(batches >= said, "round {round}: {batches} of {said} transactions are there");
        assert!(batches <= said + 1, "round {round}: {batches} transactions, {said} were told of");
        said = batches;
    }
    assert!(said >= 12, "every other writer wrote something, and {said} batches are there");
}
