//! Installing into configurations as others write them, and taking out again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod place;
mod refusals;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use place::{CALICO, CILIUM, COMPACT, FLANNEL, Place, SINGLE};
use portcullis_cni::install::{
    BACKUP_SUFFIX, Install, InstallError, OnAgentDown, Outcome, Settings, Uninstall, Which,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn nothing_but_the_entry_changes_and_uninstalling_gives_back_every_byte() {
    let crlf = CILIUM.replace('\n', "\r\n");
    let no_end = FLANNEL.trim_end();
    let odd = "{\"plugins\" : [ {\"type\":\"x\", \"n\": 1.50e+2, \"u\":\"\\u00e9\"} ] , \"name\":\"o\",\"cniVersion\":\"0.4.0\" }\n\n";
    for original in [CALICO, FLANNEL, CILIUM, COMPACT, &crlf, no_end, odd] {
        let place = Place::with("10-net.conflist", original);
        let report = place.install();
        assert_eq!((report.outcome, report.binary_outcome), (Outcome::Installed, Outcome::Installed));
        let backup = place.path(&format!("10-net.conflist{BACKUP_SUFFIX}"));
        assert_eq!(report.backup.as_ref(), Some(&backup));
        assert_eq!(fs::read_to_string(&backup).unwrap(), original);

        let (before, after): (Value, Value) =
            (serde_json::from_str(original).unwrap(), place.json("10-net.conflist"));
        let plugins = after["plugins"].as_array().unwrap();
        let (last, others) = plugins.split_last().unwrap();
        assert_eq!(*last, json!({"type": "portcullis", "onAgentDown": "fail"}));
        assert_eq!(others, before["plugins"].as_array().unwrap());
        // As text, what was there before is there still, in two pieces.
        let text = place.text("10-net.conflist");
        let entry = text.find("\"portcullis\"").unwrap();
        let common = original.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        assert!(common <= entry && text.ends_with(&original[common..]), "{text}");
        assert_eq!(original.contains("\r\n"), text.contains("\r\n"));

        let inode = fs::metadata(place.path("10-net.conflist")).unwrap().ino();
        let again = place.install();
        assert_eq!((again.outcome, again.binary_outcome), (Outcome::Unchanged, Outcome::Unchanged));
        assert_eq!((again.backup, again.diff.as_str()), (None, ""));
        assert_eq!(fs::metadata(place.path("10-net.conflist")).unwrap().ino(), inode, "not even rewritten");

        let report = place.uninstaller().run().unwrap();
        assert_eq!(report.outcome, Outcome::Removed);
        assert_eq!(place.text("10-net.conflist"), original);
        assert_eq!(place.uninstaller().run().unwrap().outcome, Outcome::Absent);
    }
}

#[test]
fn the_entry_is_written_as_its_neighbours_are() {
    let place = Place::with("a.conflist", FLANNEL);
    place.install();
    let entry =
        "\t\t},\n\t\t{\n\t\t\t\"type\": \"portcullis\",\n\t\t\t\"onAgentDown\": \"fail\"\n\t\t}\n\t]\n}\n";
    assert!(place.text("a.conflist").ends_with(entry), "{}", place.text("a.conflist"));

    let place = Place::with("a.conflist", COMPACT);
    place.install();
    let entry = r#"{"type":"portmap"},{"type":"portcullis","onAgentDown":"fail"}]}"#;
    assert!(place.text("a.conflist").ends_with(entry), "{}", place.text("a.conflist"));
}

#[test]
fn options_are_updated_and_what_is_not_named_stays() {
    let place = Place::with("a.conflist", CILIUM);
    let with = |on_agent_down, socket: Option<&str>| {
        let settings = Settings { on_agent_down, socket: socket.map(PathBuf::from) };
        Install { settings, ..place.installer() }.run().unwrap().outcome
    };
    let entry = || place.json("a.conflist")["plugins"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(with(Some(OnAgentDown::Pass), None), Outcome::Installed);
    assert_eq!(entry(), json!({"type": "portcullis", "onAgentDown": "pass"}));
    assert_eq!(with(None, Some("/run/gate.sock")), Outcome::Updated);
    assert_eq!(entry(), json!({"type": "portcullis", "onAgentDown": "pass", "socket": "/run/gate.sock"}));
    assert_eq!(with(None, None), Outcome::Unchanged);
    // Somebody's own keys.
    let text = place.text("a.conflist").replace("\"pass\"", "\"pass\", \"timeoutMs\": 900");
    fs::write(place.path("a.conflist"), text).unwrap();
    assert_eq!(with(Some(OnAgentDown::Fail), None), Outcome::Updated);
    let all =
        json!({"type": "portcullis", "onAgentDown": "fail", "timeoutMs": 900, "socket": "/run/gate.sock"});
    assert_eq!(entry(), all);
    // The backup is what was there without us, however often options change.
    assert_eq!(place.text(&format!("a.conflist{BACKUP_SUFFIX}")), CILIUM);
    // A newer binary takes the place of the old one.
    fs::write(place.root.path().join("portcullis"), b"\x7fELF two").unwrap();
    let report = place.install();
    assert_eq!((report.outcome, report.binary_outcome), (Outcome::Unchanged, Outcome::Updated));
    let plugin = place.root.path().join("bin/portcullis");
    assert_eq!(fs::read(&plugin).unwrap(), b"\x7fELF two");
    assert_eq!(fs::metadata(&plugin).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn it_is_put_last_and_once() {
    let list = |plugins: &str| format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{plugins}]}}");
    let ours = r#"{"type":"portcullis","timeoutMs":700}"#;
    for plugins in [
        format!(r#"{ours},{{"type":"bridge"}},{{"type":"portmap"}}"#),
        format!(r#"{{"type":"bridge"}},{ours},{{"type":"portmap"}}"#),
        format!(r#"{ours},{{"type":"bridge"}},{{"type":"portmap"}},{ours}"#),
    ] {
        let place = Place::with("n.conflist", &list(&plugins));
        let report = place.install();
        assert_eq!(report.outcome, Outcome::Updated);
        // The entry was somebody's own: nothing had been kept yet.
        assert_eq!(fs::read_to_string(report.backup.unwrap()).unwrap(), list(&plugins));
        let expected = list(&format!(r#"{{"type":"bridge"}},{{"type":"portmap"}},{ours}"#));
        assert_eq!(place.text("n.conflist"), expected);
        assert_eq!(place.install().outcome, Outcome::Unchanged);
        place.uninstaller().run().unwrap();
        assert_eq!(place.text("n.conflist"), list(r#"{"type":"bridge"},{"type":"portmap"}"#));
    }
}

#[test]
fn a_single_plugin_becomes_a_list_in_the_same_place() {
    for (name, text) in
        [("10-mynet.conf", SINGLE.to_owned()), ("10-mynet.json", SINGLE.replace('\n', "\r\n"))]
    {
        let place = Place::with(name, &text);
        fs::write(place.path("20-other.conflist"), CALICO).unwrap();
        let report = place.install();
        assert_eq!((report.outcome, report.network.as_str()), (Outcome::Installed, "mynet"));
        assert_eq!(report.file, place.path("10-mynet.conflist"));
        assert!(report.notes[0].contains("10-mynet.conf"), "{:?}", report.notes);
        assert!(!place.path(name).exists());
        assert_eq!(place.text(&format!("{name}{BACKUP_SUFFIX}")), text);
        let list = place.json("10-mynet.conflist");
        let mut single: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&list["cniVersion"], &list["name"]), (&json!("1.0.0"), &json!("mynet")));
        assert_eq!(list["plugins"][0], single.take());
        assert_eq!(list["plugins"][1]["type"], "portcullis");
        assert_eq!(place.text("10-mynet.conflist").contains("\r\n"), text.contains("\r\n"));
        assert_eq!(place.install().outcome, Outcome::Unchanged);
        place.uninstaller().run().unwrap();
        assert_eq!(place.json("10-mynet.conflist")["plugins"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_first_by_name_is_meant_or_the_one_that_is_named() {
    let place = Place::new();
    for (name, text) in [("20-b.conflist", CALICO), ("05-a.conflist", CILIUM), ("30-c.conf", SINGLE)] {
        fs::write(place.path(name), text).unwrap();
    }
    // Runtimes do not read these.
    for name in ["00-notes.txt", "01-old.conflist.bak", "calico-kubeconfig"] {
        fs::write(place.path(name), "nothing").unwrap();
    }
    fs::create_dir(place.path("02-directory.conflist")).unwrap();
    let which = |which| Install { which, dry_run: true, ..place.installer() };
    let file = |which_one: Which| which(which_one).run().unwrap().file;
    assert_eq!(file(Which::First), place.path("05-a.conflist"));
    assert_eq!(file(Which::File("20-b.conflist".into())), place.path("20-b.conflist"));
    assert_eq!(file(Which::Network("k8s-pod-network".into())), place.path("20-b.conflist"));
    assert_eq!(file(Which::Network("mynet".into())), place.path("30-c.conflist"));
    fs::remove_dir(place.path("02-directory.conflist")).unwrap();
    for (missing, named) in
        [(Which::File("99-x.conflist".into()), "99-x.conflist"), (Which::Network("absent".into()), "absent")]
    {
        let error = which(missing).run().unwrap_err();
        assert!(matches!(error, InstallError::NotFound(_)) && error.to_string().contains(named), "{error}");
    }
    for bad in ["../20-b.conflist", "", "..", "20-b.txt", "/etc/passwd"] {
        let error = which(Which::File(bad.into())).run().unwrap_err();
        assert!(matches!(error, InstallError::Invalid(_)), "{bad}: {error}");
    }
    // Taking out finds the one that has it.
    Install { which: Which::File("20-b.conflist".into()), ..place.installer() }.run().unwrap();
    let report = place.uninstaller().run().unwrap();
    assert_eq!((report.file, report.outcome), (place.path("20-b.conflist"), Outcome::Removed));
    assert_eq!(place.text("20-b.conflist"), CALICO);
}

#[test]
fn a_version_may_be_one_of_several() {
    let list = |versions: &str| format!("{{{versions},\"name\":\"n\",\"plugins\":[{{\"type\":\"a\"}}]}}");
    let place = Place::with("n.conflist", &list(r#""cniVersion":"0.2.0","cniVersions":["1.0.0","2.0.0"]"#));
    assert_eq!(place.install().outcome, Outcome::Installed);
    let place = Place::with("n.conflist", &list(r#""cniVersions":["1.1.0"]"#));
    assert_eq!(place.install().outcome, Outcome::Installed);
    let place = Place::with("n.conflist", &list(r#""cniVersions":"1.1.0""#));
    assert!(place.refusal(&place.installer()).contains("cniVersions"));
}

#[test]
fn a_dry_run_shows_the_change_and_makes_none() {
    for (name, text) in [("n.conflist", CILIUM), ("n.conf", SINGLE)] {
        let place = Place::with(name, text);
        let before = place.everything();
        let report = Install { dry_run: true, ..place.installer() }.run().unwrap();
        assert_eq!((report.outcome, report.binary_outcome), (Outcome::Installed, Outcome::Installed));
        assert!(
            report.diff.lines().any(|line| line.starts_with('+') && line.contains("\"portcullis\"")),
            "{}",
            report.diff
        );
        assert_eq!(place.everything(), before);
        place.install();
        let before = place.everything();
        let report = Uninstall { dry_run: true, remove_binary: true, ..place.uninstaller() }.run().unwrap();
        assert_eq!((report.outcome, report.binary_outcome), (Outcome::Removed, Outcome::Removed));
        assert!(report.diff.lines().any(|line| line.starts_with('-') && line.contains("\"portcullis\"")));
        assert_eq!(place.everything(), before);
    }
}

#[test]
fn the_binary_stays_unless_it_is_asked_away_and_nobody_needs_it() {
    let place = Place::with("a.conflist", CALICO);
    fs::write(place.path("b.conflist"), CILIUM).unwrap();
    place.install();
    Install { which: Which::File("b.conflist".into()), ..place.installer() }.run().unwrap();
    let gone = |remove_binary| Uninstall { remove_binary, ..place.uninstaller() }.run().unwrap();
    let report = gone(true);
    assert_eq!((report.outcome, report.binary_outcome), (Outcome::Removed, Outcome::Kept));
    assert!(report.notes.iter().any(|note| note.contains("b.conflist")), "{:?}", report.notes);
    assert_eq!(gone(false).binary_outcome, Outcome::Kept);
    assert_eq!(gone(true).binary_outcome, Outcome::Removed);
    assert_eq!(gone(true).binary_outcome, Outcome::Absent);
}

#[test]
fn mode_owner_and_links_stay() {
    let place = Place::with("real.cfg", CALICO);
    let real = place.path("real.cfg");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&real, Some(1234), Some(4321)).unwrap();
    fs::rename(&real, place.path("real.conflist")).unwrap();
    let elsewhere = place.root.path().join("real.conflist");
    fs::rename(place.path("real.conflist"), &elsewhere).unwrap();
    symlink(&elsewhere, place.path("10-link.conflist")).unwrap();
    let report = place.install();
    assert_eq!(report.outcome, Outcome::Installed);
    assert!(place.path("10-link.conflist").is_symlink());
    for path in [elsewhere, report.backup.unwrap()] {
        let status = fs::metadata(&path).unwrap();
        assert_eq!(
            (status.mode() & 0o7777, status.uid(), status.gid()),
            (0o640, 1234, 4321),
            "{}",
            path.display()
        );
    }
    // A single plugin's file cannot give way to a list behind a link.
    let place = Place::new();
    let elsewhere = place.root.path().join("single.conf");
    fs::write(&elsewhere, SINGLE).unwrap();
    symlink(&elsewhere, place.path("10-link.conf")).unwrap();
    assert!(place.refusal(&place.installer()).contains("link"));
}

#[test]
fn plugins_that_newer_runtimes_append_are_pointed_at() {
    let place = Place::with("a.conflist", CILIUM);
    fs::create_dir(place.path("cilium")).unwrap();
    fs::write(place.path("cilium/10-x.conf"), "{\"type\":\"x\"}").unwrap();
    let report = place.install();
    assert!(report.notes.iter().any(|note| note.contains("net.d/cilium")), "{:?}", report.notes);
}

proptest! {
    /// Whatever list a program writes, compact or pretty: installing adds one entry, uninstalling gives back
    /// every byte.
    #[test]
    fn there_and_back(
        kinds in prop::collection::vec("[a-z]{1,8}", 1..5),
        key in "[a-zA-Z]{1,6}",
        value in prop_oneof![any::<i64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from)],
        pretty: bool,
    ) {
        let plugins: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "x": {key.clone(): value}})).collect();
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
        let text = if pretty { format!("{list:#}\n") } else { list.to_string() };
        prop_assume!(!kinds.iter().any(|kind| kind == "portcullis"));
        let place = Place::with("n.conflist", &text);
        place.install();
        let after = place.json("n.conflist");
        prop_assert_eq!(after["plugins"].as_array().unwrap().len(), plugins.len() + 1);
        prop_assert_eq!(place.install().outcome, Outcome::Unchanged);
        place.uninstaller().run().unwrap();
        prop_assert_eq!(place.text("n.conflist"), text);
    }
}
