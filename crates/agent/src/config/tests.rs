use std::net::SocketAddr;
use std::path::Path;

use portcullis_policy::model::{Direction, Mode, UnboundPolicy};

use portcullis_policy::guard::Response;

use super::{Config, ConfigError, EXAMPLE, Limits, SourceKind, SourceSection, Sources};

fn error(text: &str) -> String {
    let message = Config::parse(text, Path::new("p.toml")).unwrap_err().to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    message
}

/// The example with every commented key switched on.
fn example_in_full() -> String {
    let is_key = |rest: &str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if is_key(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(uncomment).collect()
}

#[test]
fn the_example_as_it_stands_is_the_default() {
    assert_eq!(Config::parse(EXAMPLE, Path::new("p")).unwrap(), Config::default());
    assert_eq!(Config::parse("", Path::new("p")).unwrap(), Config::default());
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let full = example_in_full();
    let mut config = Config::parse(&full, Path::new("p")).unwrap();
    let endpoint = config.endpoints.pop().unwrap();
    assert_eq!(endpoint.name, "web-1");
    assert_eq!(endpoint.addresses.len(), 2);
    assert_eq!(endpoint.workload.labels["app"], "web");
    let policy = config.policies.pop().unwrap();
    assert_eq!((policy.name.as_str(), policy.priority), ("web", 0));
    let shown = toml::Value::try_from(&policy).unwrap();
    assert_eq!(shown.as_table().unwrap().len(), 11, "a key of a policy is missing in the example");
    let source = config.source_list.pop().unwrap();
    assert_eq!(source, SourceSection::new(SourceKind::Docker, Some("/run/docker.sock".into())));
    assert_eq!(config.listen.take(), Some(SocketAddr::from(([127, 0, 0, 1], 7410))));
    assert!(config.token_file.take().is_some());
    assert_eq!(config, Config::default());

    // Whatever serde knows must stand in the example, so that a new key cannot be forgotten there.
    let all = Config {
        listen: Some(([127, 0, 0, 1], 1).into()),
        token_file: Some("t".into()),
        source_list: vec![SourceSection::new(SourceKind::Docker, None)],
        policies: vec![policy],
        ..Config::default()
    };
    let toml::Value::Table(known) = toml::Value::try_from(&all).unwrap() else { panic!() };
    let toml::Value::Table(shown) = toml::from_str(&full).unwrap() else { panic!() };
    assert_eq!(known.keys().collect::<Vec<_>>(), shown.keys().collect::<Vec<_>>());
    for table in ["events", "limits", "reconcile", "answer"] {
        let keys = |v: &toml::Table| v[table].as_table().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&known), keys(&shown), "{table}");
    }
}

#[test]
fn everything_can_be_said() {
    let config = Config::parse(
        r#"
        socket = "/tmp/s"
        state_dir = "/tmp/d"
        bpffs = "/tmp/b"
        listen = "[::1]:80"
        token_file = "/tmp/t"
        unbound = "drop"
        events = { per_second = 1, burst = 2, history = 3 }
        limits.endpoints = 7
        [reconcile]
        interval_ms = 100
        [answer]
        attempts = 3
        window = "5s"
        dry_run = true
        terminations_per_minute = 0
        [[source]]
        kind = "cri"
        mode = "audit"
        hold = false
        inside = true
        [[policy]]
        name = "p"
        match.labels = { app = "web" }
        response = "quarantine"
        [[endpoint]]
        name = "a"
        interface = { name = "lo", netns = "/run/netns/x" }
        direction = "egress"
        addresses = ["127.0.0.1"]
        mode = "audit"
        "#,
        Path::new("p"),
    )
    .unwrap();
    assert_eq!(config.socket, Path::new("/tmp/s"));
    assert_eq!(config.unbound, UnboundPolicy::Drop);
    assert_eq!((config.events.per_second, config.events.burst, config.events.history), (1, 2, 3));
    assert_eq!(config.limits.capacity(64), 7);
    assert_eq!(config.reconcile.interval_ms, 100);
    assert_eq!((config.answer.answer().attempts, config.answer.answer().dry_run), (3, true));
    assert_eq!(config.answer.answer().response, Response::Report);
    assert_eq!(config.answer.terminations_per_minute, 0);
    let source = &config.effective_sources()[0];
    assert_eq!(source.socket, Path::new("/run/containerd/containerd.sock"));
    assert_eq!((source.mode, source.hold, source.inside), (Mode::Audit, false, true));
    assert_eq!(config.policies[0].response, Some(Response::Quarantine));
    assert_eq!(Config::parse("sources = 'none'", Path::new("p")).unwrap().sources, Sources::None);
    let endpoint = &config.endpoints[0];
    assert_eq!(endpoint.interface.netns.as_deref(), Some("/run/netns/x"));
    assert_eq!((endpoint.direction, endpoint.mode), (Direction::Egress, Mode::Audit));
}

#[test]
fn the_automatic_capacity_follows_the_cpus() {
    let auto = Limits::default();
    assert_eq!(auto.capacity(1), 16_384);
    assert_eq!(auto.capacity(0), 16_384);
    assert_eq!(auto.capacity(64), 3196);
    assert_eq!(auto.capacity(4096), 1024);
}

#[test]
fn errors_name_file_line_and_key_and_say_what_to_do() {
    for (text, want) in [
        ("\nsokcet = \"/x\"\n", "p.toml:2: sokcet: unknown key \"sokcet\": did you mean \"socket\"?"),
        (
            "[events]\nper_secnd = 1",
            "p.toml:2: events.per_secnd: unknown key \"per_secnd\": did you mean \"per_second\"?",
        ),
        ("[limits]\ncolour = 1", "p.toml:2: limits.colour: unknown key \"colour\": known here are endpoints"),
        ("unbound = \"drpo\"", "p.toml:1: unbound: unknown value \"drpo\": did you mean \"drop\"?"),
        (
            "unbound = \"purple\"",
            "p.toml:1: unbound: unknown value \"purple\": known here are allow, audit, drop",
        ),
        (
            "events.burst = 0",
            "p.toml:1: events.burst: with a burst of 0 no event is ever sent: write at least 1, or per_second = 0 if that is meant",
        ),
        ("[events]\n\nhistory = 100001", "p.toml:3: events.history: write a number from 0 to 100000"),
        ("[reconcile]\ninterval_ms = 5", "p.toml:2: reconcile.interval_ms: write a number from 50 to 60000"),
        (
            "limits.endpoints = 1000001",
            "p.toml:1: limits.endpoints: write at most 1000000, or 0 to have it chosen",
        ),
        (
            "socket = ''",
            "p.toml:1: socket: the path is empty: write one, or leave the key out for the default",
        ),
        (
            "[[endpoint]]\ninterface = { name = \"v\" }",
            "p.toml:1: endpoint[0]: the key \"name\" is missing here: add it",
        ),
        (
            "[[endpoint]]\nname = 'a'\ninterface.name = 'v'\n[[endpoint]]\nname = 'a'\ninterface.name = 'w'\n",
            "p.toml:5: endpoint[1].name: \"a\" is the name of an endpoint above: give each its own",
        ),
        (
            "[[endpoint]]\nname = 'a'\ninterface = { nam = 'v' }\n",
            "p.toml:3: endpoint[0].interface.nam: unknown key \"nam\": did you mean \"name\"?",
        ),
        (
            "token_file = 't'\nlisten = '0.0.0.0:80'",
            "p.toml:2: listen: 0.0.0.0:80 is not on loopback, and TCP is not encrypted here: write 127.0.0.1:PORT or [::1]:PORT",
        ),
        (
            "unbound_except = ['a', 'x*y']",
            "p.toml:1: unbound_except[1]: a * stands at the end only, for any rest of the name",
        ),
        (
            "unbound_except = ['']",
            "p.toml:1: unbound_except[0]: the name is empty: write an interface's name",
        ),
        (
            "unbound_except = ['sixteen-letters-*']",
            "p.toml:1: unbound_except[0]: no interface has so long a name: write at most 15 characters",
        ),
        (
            "[answer]\nwindow = '60'",
            "p.toml:2: answer.window: \"60\" is not a length of time: write a whole number and a unit, such as 500ms, 60s, 10m, 1h or 7d",
        ),
        ("[answer]\nwindow = '99ms'", "p.toml:2: answer.window: write a length of time from 100ms to 1d"),
        ("[answer]\n\nattempts = 0", "p.toml:3: answer.attempts: write a number from 1 to 10000"),
        (
            "answer.terminations_per_minute = 1001",
            "p.toml:1: answer.terminations_per_minute: write a number from 0 (none are ended) to 1000",
        ),
        (
            "[[source]]\nkind = 'dokcer'",
            "p.toml:2: source[0].kind: unknown value \"dokcer\": did you mean \"docker\"?",
        ),
        (
            "[[source]]\nkind = 'docker'\nsocket = 'run/d'",
            "p.toml:3: source[0].socket: write the absolute path of a unix socket, such as /run/docker.sock",
        ),
        (
            "[[source]]\nkind = 'docker'\nmode = 'off'",
            "p.toml:3: source[0].mode: write \"enforce\" or \"audit\"; leave the section out where nothing is to be done",
        ),
        (
            "[[source]]\nkind = 'docker'\n[[source]]\nkind = 'docker'",
            "p.toml:4: source[1].kind: /run/docker.sock is the socket of a source above: name each once",
        ),
        (
            "sources = 'none'\n[[source]]\nkind = 'docker'",
            "p.toml:1: sources: \"none\" contradicts the [[source]] sections: leave one of them out",
        ),
        (
            "[[policy]]\nname = 'a'\nmatch = {}\nmode = 'audit'",
            "p.toml:3: policy[0].match: it does not say which endpoints: write match = { name = \"*\" } if it is for all",
        ),
        (
            "[[policy]]\nname = 'a'\nmatch.name = '*'\nterminate = 'kill'",
            "p.toml:4: policy[0].terminate: terminate goes with its response: state response = \"terminate\" in this policy, or leave it out",
        ),
        (
            "[[policy]]\nname = 'a'\nmatch.name = '*'",
            "p.toml:2: policy[0].name: it has no effect: state at least one of mode, allow, addresses, attempts, window, response, dry_run",
        ),
        (
            "listen = '127.0.0.1:80'",
            "p.toml:1: listen: the API on TCP needs a bearer token: name a file that holds one with token_file",
        ),
    ] {
        assert_eq!(error(text), want);
    }
}

#[test]
fn errors_of_addresses_and_types_keep_their_own_words() {
    let endpoint = "[[endpoint]]\nname = 'a'\ninterface.name = 'v'\n";
    let message = error(&format!("{endpoint}addresses = [\n  '10.0.0.1',\n  '10.0.0.2/24',\n]\n"));
    assert!(
        message.starts_with("p.toml:6: endpoint[0].addresses[1]: 10.0.0.2/24 has host bits set"),
        "{message}"
    );
    let message = error(&format!("{endpoint}addresses = ['0.0.0.0/0']\n"));
    assert!(
        message.contains("p.toml:4: endpoint[0].addresses[0]: 0.0.0.0/0 would let it use every address"),
        "{message}"
    );
    let message = error("[events]\nburst = -1\n");
    assert!(message.starts_with("p.toml:2: events.burst: ") && message.contains("-1"), "{message}");
    let message = error("socket = 3\n");
    assert!(message.starts_with("p.toml:1: socket: ") && message.contains("expected"), "{message}");
    let message = error("listen = 'nowhere'\n");
    assert!(message.starts_with("p.toml:1: listen: "), "{message}");
}

#[test]
fn broken_syntax_names_its_line() {
    for (text, line) in
        [("socket = \n", 1), ("\n\n[events\n", 3), ("a = 1\na = 2\n", 2), ("\u{1}", 1), ("x = \"\n", 1)]
    {
        let message = error(text);
        assert!(
            message.starts_with(&format!("p.toml:{line}: "))
                || message.starts_with(&format!("p.toml:{line}:")),
            "{message}"
        );
    }
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    assert_eq!(Config::load(Some(&path)), Err(ConfigError::Missing { path: path.clone() }));
    std::fs::write(&path, "unbound = 'audit'").unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap().unbound, UnboundPolicy::Audit);
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(Config::load(Some(&path)).unwrap_err().to_string().contains("not UTF-8"));
    assert!(Config::load(Some(dir.path())).unwrap_err().to_string().contains("is a directory"));
    assert_eq!(Config::read_if_there(&dir.path().join("missing")), Ok(Config::default()));
    assert!(Config::read_if_there(&path).is_err());
}

proptest::proptest! {
    /// Whatever a file holds: an answer, never a panic, always on one line.
    #[test]
    fn any_text_gets_an_answer(text in "[\\[\\]a-c.=\"'\n #0-9{},\\\\\u{e4}]{0,60}") {
        if let Err(e) = Config::parse(&text, Path::new("p")) {
            proptest::prop_assert!(!e.to_string().contains('\n'));
        }
    }
}
