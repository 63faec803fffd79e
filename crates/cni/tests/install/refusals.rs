//! What is not installed into.

use std::fs;

use portcullis_cni::install::{Install, InstallError, Settings};

use crate::place::{CALICO, Place, SINGLE};

#[test]
fn a_list_that_would_not_stand_in_the_same_place_is_refused() {
    let place = Place::with("10-a.conf", SINGLE);
    fs::write(place.path("10-a.conf.conf"), SINGLE).unwrap();
    assert!(place.refusal(&place.installer()).contains("10-a.conf.conf"));
    let place = Place::with("10-a.conf", SINGLE);
    fs::write(place.path("10-a.conflist"), CALICO).unwrap();
    assert!(place.refusal(&place.installer()).contains("10-a.conflist"));
}

#[test]
fn what_is_no_configuration_is_refused_in_a_line() {
    for (text, said) in [
        ("", "JSON"),
        ("not json", "JSON"),
        ("[]", "JSON"),
        ("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]} // eth0", "comments"),
        ("# a comment\n{}", "comments"),
        ("\u{feff}{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}", "JSON"),
        ("{}", "plugins"),
        ("{\"type\":\"bridge\",\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "plugins"),
        ("{\"plugins\":7,\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "plugins"),
        ("{\"plugins\":[],\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "empty"),
        ("{\"plugins\":[{}],\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "type"),
        ("{\"plugins\":[\"bridge\"],\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "type"),
        ("{\"plugins\":[{\"type\":\"a\"}],\"cniVersion\":\"1.0.0\"}", "name"),
        ("{\"plugins\":[{\"type\":\"a\"}],\"name\":\"n\"}", "cniVersion"),
        ("{\"plugins\":[{\"type\":\"a\"}],\"name\":\"n\",\"cniVersion\":\"0.2.0\"}", "0.2.0"),
        ("{\"plugins\":[{\"type\":\"a\"}],\"name\":\"n\",\"cniVersion\":\"7.0.0\"}", "7.0.0"),
        (
            "{\"plugins\":[{\"type\":\"a\"}],\"plugins\":[{\"type\":\"b\"}],\"name\":\"n\",\"cniVersion\":\"1.0.0\"}",
            "twice",
        ),
        ("{\"plugins\":[{\"type\":\"portcullis\"}],\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "only plugin"),
    ] {
        let place = Place::with("n.conflist", text);
        let error = place.refusal(&place.installer());
        assert!(error.contains(said) && error.contains("n.conflist"), "{text}: {error}");
    }
    for (text, said) in [
        ("{\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "type"),
        ("{\"type\":\"bridge\",\"cniVersion\":\"1.0.0\"}", "name"),
        ("{\"type\":\"bridge\",\"name\":\"n\"}", "cniVersion"),
        ("{\"type\":\"portcullis\",\"name\":\"n\",\"cniVersion\":\"1.0.0\"}", "only plugin"),
        (CALICO, ".conflist"),
    ] {
        let place = Place::with("n.conf", text);
        let error = place.refusal(&place.installer());
        assert!(error.contains(said), "{text}: {error}");
    }
    let place = Place::with("n.conflist", "x");
    fs::write(place.path("n.conflist"), [0xff, 0xfe]).unwrap();
    assert!(place.refusal(&place.installer()).contains("UTF-8"));
    fs::write(place.path("n.conflist"), vec![b' '; 2 << 20]).unwrap();
    assert!(place.refusal(&place.installer()).contains("larger"));
    // A FIFO is refused, not waited for.
    fs::remove_file(place.path("n.conflist")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("n.conflist"), 0o600.into()).unwrap();
    let error = place.installer().run().unwrap_err().to_string();
    assert!(error.contains("plain file"), "{error}");
}

#[test]
fn what_is_not_there_is_said() {
    let place = Place::new();
    let error = place.installer().run().unwrap_err();
    assert!(matches!(error, InstallError::NotFound(_)), "{error}");
    let nowhere = Install { conf_dir: "/nowhere/net.d".into(), ..place.installer() };
    let error = nowhere.run().unwrap_err();
    assert!(
        matches!(error, InstallError::NotFound(_)) && error.to_string().contains("/nowhere/net.d"),
        "{error}"
    );

    let place = Place::with("n.conflist", CALICO);
    let nowhere = Install { bin_dir: "/nowhere/bin".into(), ..place.installer() };
    let error = place.refusal(&nowhere);
    assert!(error.contains("--bin-dir"), "{error}");
    fs::create_dir(place.root.path().join("bin/portcullis")).unwrap();
    let error = place.installer().run().unwrap_err().to_string();
    assert!(error.contains("bin/portcullis") && place.text("n.conflist") == CALICO, "{error}");

    let settings = Settings { socket: Some("gate.sock".into()), ..Settings::default() };
    let error = Install { settings, ..place.installer() }.run().unwrap_err();
    assert!(matches!(error, InstallError::Invalid(_)), "{error}");
}
