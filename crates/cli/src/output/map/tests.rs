use super::super::fixture::containers;
use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn shown(map: &ContainerMap, wide: bool) -> String {
    show(map, now(), &Style::default(), wide)
}

#[test]
fn what_needs_a_look_stands_first_and_last() {
    let text = shown(&containers::map(), false);
    let expected = "\
CONTAINER                             STATE            NETWORK          INSIDE  INTERFACE        ADDRESSES
pay-worker                            UNBOUND          backend          eth0    veth9d0e1f2      172.20.0.9 fd20::9
(cron-1)                              ORPHAN           backend          eth0    veth7d8e9f0      172.20.0.11
builder                               HELD             podman           eth0    veth1            10.88.0.3
db                                    QUARANTINED      backend          eth0    veth1d2e3f4      172.20.0.4 fd20::4
scanner                               not-protectable  lan              eth0    (inside)         192.168.7.9
(gw)                                  bound            -                -       br-lan           10.9.0.1
api                                   bound            backend          eth0    veth7a8b9c0      172.20.0.3 fd20::3
api-log                               shared           -                -       -                -
";
    assert!(text.starts_with(expected), "{text}");
    let expected = "

UNBOUND pay-worker: 172.20.0.9 is bound to \"db\" already
ORPHAN (cron-1): its container \"cron-1\" is gone
HELD builder: its addresses are not known yet
QUARANTINED db: 10 hostile attempts in 1m
not-protectable scanner: macvlan has no host side: bind it from inside with `endpoint bind --direction egress`
podman failing for 2m 10s: /run/podman/podman.sock has not answered for 5 s; its containers are shown as it told of them last
19 containers: 10 bound, 2 shared, 1 no network, 2 host network, 1 not protectable, 1 QUARANTINED, 1 HELD, 1 UNBOUND; 2 interfaces without a container: 1 bound, 1 ORPHAN
";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_container_stands_together_and_is_counted_once() {
    let mut map = containers::map();
    map.rows.retain(|row| row.container.as_deref() == Some("proxy"));
    map.rows.reverse();
    map.sources.clear();
    let expected = "\
CONTAINER  STATE  NETWORK   INSIDE  INTERFACE    ADDRESSES
proxy      bound  frontend  eth0    veth1a2b3c4  172.18.0.2 fd18::2
proxy      bound  backend   eth1    veth5d6e7f8  172.20.0.2 fd20::2

1 container: 1 bound
";
    assert_eq!(shown(&map, false), expected);
    // The worst of its attachments is what counts.
    map.rows[0].state = MapState::Unbound;
    let text = shown(&map, false);
    assert!(text.ends_with("UNBOUND proxy: its frames are not verified\n1 container: 1 UNBOUND\n"), "{text}");
    // Another container of that name is another one.
    map.rows[0].workload.container = Some("f".repeat(64));
    assert!(shown(&map, false).ends_with("2 containers: 1 bound, 1 UNBOUND\n"));
}

#[test]
fn wide_says_everything_on_one_line_each() {
    let map = containers::map();
    let text = show(&map, now(), &Style { colour: false, size: Some((80, 24)) }, true);
    let row = text.lines().find(|line| line.contains("veth5d6e7f8")).unwrap();
    for word in ["proxy", "docker", "traefik:3.1", "backend", "eth1", "172.20.0.2 fd20::2", "2h 30m"] {
        assert!(row.contains(word), "{word} in {row}");
    }
    assert!(row.ends_with("app=edge,tier=front"), "{row}");
    let row = text.lines().find(|line| line.starts_with("mail-filter")).unwrap();
    assert!(row.contains("in the network of \"mail\""), "{row}");
    assert_eq!(text.lines().count(), map.rows.len() + 4, "{text}");
}

#[test]
fn terminals_of_any_width_are_kept_to() {
    let mut map = containers::map();
    map.rows[3].container = Some(format!("shop/{}", "n".repeat(248)));
    for columns in [80, 100, 200] {
        let text = show(&map, now(), &Style { colour: true, size: Some((columns, 24)) }, false);
        let table = text.lines().take_while(|line| !line.is_empty());
        for line in table {
            let bare: String =
                line.split('\x1b').map(|part| part.split_once('m').map_or(part, |p| p.1)).collect();
            assert!(bare.chars().count() <= usize::from(columns), "{columns}: {bare}");
        }
    }
}

#[test]
fn many_troubles_are_not_all_explained() {
    let mut map = containers::map();
    let row = map.rows.iter().find(|row| row.state == MapState::Unbound).unwrap().clone();
    map.rows = (0..60)
        .map(|number| {
            let mut row = row.clone();
            row.workload.container = Some(format!("{number:064}"));
            row
        })
        .collect();
    let text = shown(&map, false);
    assert_eq!(text.matches("UNBOUND pay-worker: ").count(), MOST_NOTES, "{text}");
    assert!(text.contains("… and 40 more: portcullis map -o wide says why\n"), "{text}");
    assert!(text.ends_with("60 containers: 60 UNBOUND\n"), "{text}");
}

#[test]
fn an_empty_map_says_whether_anyone_was_asked() {
    let mut map = ContainerMap::default();
    assert_eq!(
        shown(&map, false),
        "no containers, and no source that could tell of them (none is configured)\n"
    );
    map.sources = containers::sources();
    assert!(shown(&map, true).ends_with("\nno containers\n"));
    map.sources.retain(|source| source.name == "podman");
    let text = shown(&map, false);
    assert!(
        text.ends_with("no containers, and no source that could tell of them (podman failing)\n"),
        "{text}"
    );
}

#[test]
fn the_graph_has_networks_around_interfaces() {
    let text = graph(&containers::map());
    assert!(text.starts_with("graph portcullis {\n") && text.ends_with("}\n"));
    assert_eq!(text.matches("subgraph cluster_").count(), 5, "{text}");
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    assert!(text.contains("label=\"veth5d6e7f8\\n172.20.0.2\\nfd20::2\""), "{text}");
    assert!(text.contains("fillcolor=tomato, label=\"pay-worker\\nshop/pay:3\\nunbound\""), "{text}");
    assert_eq!(text.matches(" -- ").count(), 17, "{text}");
}

#[test]
fn names_cannot_break_out_of_the_graph() {
    let mut map = containers::map();
    map.rows.truncate(1);
    map.rows[0].network = Some("a\"]; evil [label=\"\\".into());
    map.rows[0].workload.image = Some("x\n\\\" \u{1b}[2J".into());
    let text = graph(&map);
    assert!(text.contains(r#"label="a\"]; evil [label=\"\\"; style"#), "{text}");
    assert!(text.contains("\\\\\\\" \u{fffd}[2J\"];"), "{text}");
}
