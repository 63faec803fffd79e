#![allow(missing_docs, clippy::unwrap_used)]
use portcullis_runtimes::source::*;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let kind = if args.next().unwrap() == "docker" { Kind::Docker } else { Kind::Podman };
    let config = SourceConfig::new(kind, args.next().unwrap());
    let (tx, mut rx) = tokio::sync::mpsc::channel(64);
    let (_k, r) = tokio::sync::mpsc::channel(4);
    let local = tokio::task::LocalSet::new(); local.spawn_local(run(config, tx, r)); local.run_until(async move {
    let start = std::time::Instant::now();
    while let Some(report) = rx.recv().await {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        match report {
            Report::Snapshot { containers, networks } => {
                println!("{now:.4} +{:?} SNAPSHOT {} containers", start.elapsed(), containers.len());
                for c in containers.iter().take(6) { println!("   {} {:?} {:?} {:?}", c.name, c.networking, c.attachments, c.trouble); }
                for n in networks { println!("   {n:?}"); }
            }
            Report::Changed(c) => println!("{now:.4} CHANGED {} {:?} {:?} ns={:?} trouble={:?}", c.name, c.networking, c.attachments, c.netns, c.trouble),
            other => println!("{now:.4} {other:?}"),
        }
    }
}).await; }
