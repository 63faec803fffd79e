//! Lists from files: the formats they come in, all or nothing, and what outlives a restart.

use std::fmt::Write as _;
use std::io::Write as _;

use portcullis_testkit::{Agent, Lab, PingStream, wait_until};
use tempfile::NamedTempFile;

use super::{further, passes};

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_list_is_taken_whole_or_not_at_all_and_replaces_what_its_source_said() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7", "192.0.2.8"]);
    let mut agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let import = |agent: &Agent, text: &str, further: &[&str]| {
        let list = file(text);
        let path = list.path().to_str().unwrap().to_owned();
        agent.cli(&[&["blocklist", "import", &path, "--source", "feed"][..], further].concat()).unwrap()
    };
    assert!(import(&agent, "# feed\n192.0.2.7 ; SBL7\n198.51.100.0/24\n", &[]).status.success());
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"));
    let mut many = "203.0.113.0/24\n".repeat(1000);
    many.push_str("192.0.2.8\nnonsense\n");
    let output = import(&agent, &many, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("line 1002") && said.contains("nonsense") && said.contains("--skip-invalid"),
        "{said}"
    );
    assert!(passes(outside, "192.0.2.8", "192.0.2.1"), "nothing was changed");
    let output = import(&agent, &many, &["--skip-invalid"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("2 entries (2 new, 2 gone, 999 twice, 1 lines left out)"), "{text}");
    assert!(!passes(outside, "192.0.2.8", "192.0.2.1"));
    assert!(passes(outside, "192.0.2.7", "192.0.2.1"), "the source says it no more");
    agent.kill9().unwrap();
    agent.restart().unwrap();
    assert!(!passes(outside, "192.0.2.8", "192.0.2.1"));
    // A list that would cut the host off.
    let output = import(&agent, "127.0.0.0/8\n", &[]);
    assert_eq!(output.status.code(), Some(5));
    agent.cli_ok(&["blocklist", "clear", "feed"]).unwrap();
    assert!(passes(outside, "192.0.2.8", "192.0.2.1"));
}

#[test]
fn lists_come_in_many_forms() {
    let lab = Lab::builder().without_outside().build().unwrap();
    let agent = Agent::start(&lab).unwrap();
    for (format, text) in [
        ("plain", "10.1.0.0/16\r\n10.2.0.1 # one\r\n"),
        ("csv", "\"id\",\"ip\",\"comment\"\n1,10.1.0.0/16,\"a, b\"\n2,10.2.0.1,c\n"),
        (
            "ipset",
            "create bad hash:net family inet hashsize 1024 maxelem 65536 comment\nadd bad 10.1.0.0/16 comment \"x\"\nadd bad 10.2.0.1\n",
        ),
        (
            "nft",
            "table inet f {\n\tset bad {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.1.0.0/16,\n\t\t\t     10.2.0.1 }\n\t}\n}\n",
        ),
        (
            "json",
            "{\"cidr\":\"10.1.0.0/16\",\"sblid\":\"SBL1\"}\n{\"cidr\":\"10.2.0.1/32\",\"sblid\":\"SBL2\"}\n{\"type\":\"metadata\",\"size\":2}\n",
        ),
        ("p2p", "Bad:10.1.0.0-10.1.255.255\nWorse:10.2.0.1-10.2.0.1\n"),
    ] {
        let list = file(text);
        let path = list.path().to_str().unwrap();
        let said = agent.cli_ok(&["blocklist", "import", path, "--source", format]).unwrap();
        assert!(said.contains(&format!("source {format} has 2 entries")), "{said}");
        assert!(said.contains(&format!("of {format}")), "{said}");
    }
    let test = agent.cli_ok(&["blocklist", "test", "10.1.2.3"]).unwrap();
    assert!(test.contains("and 5 more"), "{test}");
    let page = agent.api("GET", "/api/v1/blocklist?limit=5", None).unwrap().1;
    assert_eq!((page["total"].as_u64(), page["entries"].as_array().unwrap().len()), (Some(12), 5));
    let next = page["next"].as_str().unwrap();
    let rest = agent.api("GET", &format!("/api/v1/blocklist?after={next}"), None).unwrap().1;
    assert_eq!(rest["entries"].as_array().unwrap().len(), 7);
    assert!(rest["next"].is_null());
}

/// A large list, with the address that matters in its middle: no look-up meets half of it.
#[test]
fn entries_expire_and_large_lists_are_exchanged_at_once() {
    let lab = Lab::new(0).unwrap();
    let outside = lab.outside().unwrap();
    further(outside, &["192.0.2.7"]);
    let agent = Agent::start(&lab).unwrap();
    agent.cli_ok(&["shield", "attach", "--interface", "uplink"]).unwrap();
    let list = |salt: u32| {
        let mut text = String::new();
        for entry in 0..50_000u32 {
            let address = (entry.wrapping_mul(2_654_435_761) ^ salt) & 0x3fff_ffff | 0x4000_0000;
            writeln!(text, "{}", std::net::Ipv4Addr::from(address)).unwrap();
        }
        text.push_str("192.0.2.7\n");
        file(&text)
    };
    let lists = [list(1), list(0x5555)];
    let import = |at: usize| {
        agent
            .cli_ok(&["blocklist", "import", lists[at].path().to_str().unwrap(), "--source", "large"])
            .unwrap()
    };
    import(0);
    // While lists change, the address that is in all of them never passes.
    let stream = PingStream::start_from(outside, "192.0.2.7", "192.0.2.1").unwrap();
    for round in 1..6 {
        import(round % 2);
    }
    let pings = stream.stop().unwrap();
    assert!(pings.received == 0 && pings.sent > 20, "{pings:?}");
    agent.cli_ok(&["blocklist", "clear", "large"]).unwrap();
    agent.cli_ok(&["blocklist", "add", "192.0.2.7", "--expires", "2s"]).unwrap();
    assert!(!passes(outside, "192.0.2.7", "192.0.2.1"));
    wait_until("it has expired", || passes(outside, "192.0.2.7", "192.0.2.1")).unwrap();
    assert!(agent.cli_ok(&["blocklist", "list"]).unwrap().starts_with("no entries"));
}
