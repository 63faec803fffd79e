//! Over real sockets: an API server that breaks off, is busy, and talks nonsense.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use portcullis_kubernetes::client;
use portcullis_kubernetes::pods::{self, PodsConfig};
use portcullis_runtimes::source::Report;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const POD: &str = r#"{"metadata":{"name":"a","namespace":"shop","uid":"u","resourceVersion":"5"},"spec":{"hostNetwork":true},"status":{"phase":"Running"}}"#;

/// Takes a connection and reads the question; gives its first line.
async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        question.push(stream.read_u8().await.unwrap());
    }
    let question = String::from_utf8(question).unwrap();
    (stream, question.lines().next().unwrap().to_owned())
}

async fn answer(listener: &TcpListener, text: &str) -> String {
    let (mut stream, question) = asked(listener).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    question
}

fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn failing(reports: &mut mpsc::Receiver<Report>) -> String {
    match reports.recv().await.unwrap() {
        Report::Failing(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whatever_the_server_does_the_pods_are_heard_of() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let client = client::client(&config).unwrap();
    let (sender, mut reports) = mpsc::channel(16);
    let (_requests, asked_for) = mpsc::channel(1);
    let task = tokio::spawn(pods::run(PodsConfig::new(client, "node-1"), sender, asked_for));
    assert_eq!(reports.recv().await.unwrap(), Report::Connecting);
    // Half an answer.
    answer(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"metadata\": {").await;
    assert!(failing(&mut reports).await.contains("broke off"));
    // None at all, and none that is HTTP.
    answer(&listener, "").await;
    assert!(failing(&mut reports).await.contains("pods"));
    answer(&listener, "SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(failing(&mut reports).await.contains("pods"));
    answer(&listener, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n").await;
    assert!(failing(&mut reports).await.contains("429"));
    let list = format!("{{\"metadata\":{{\"resourceVersion\":\"10\"}},\"items\":[{POD}]}}");
    let question = answer(&listener, &whole(&list)).await;
    assert!(question.contains("fieldSelector=spec.nodeName%3Dnode-1"), "{question}");
    let Report::Snapshot { containers, .. } = reports.recv().await.unwrap() else { panic!() };
    assert_eq!(containers[0].name, "shop/a");
    // A watch in chunks that are no lines; it ends in the midst of one.
    let (mut stream, question) = asked(&listener).await;
    assert!(question.contains("watch=true") && question.contains("resourceVersion=10"), "{question}");
    let event = format!("{{\"type\":\"DELETED\",\"object\":{}}}\n", POD.replace("\"5\"", "\"11\""));
    let (front, back) = event.split_at(40);
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    for chunk in [front, back, front] {
        stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    assert_eq!(reports.recv().await.unwrap(), Report::Gone { id: "u".into(), removed: true });
    drop(stream);
    let (_stream, question) = asked(&listener).await;
    assert!(question.contains("resourceVersion=11"), "it goes on from there: {question}");
    task.abort();
}
