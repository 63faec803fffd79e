//! `kubectl portcullis` as people use it: through the API server, to a hub that the chart has installed.

use std::os::unix::fs::symlink;
use std::path::Path;

use portcullis_testkit::kube::{Cluster, ClusterOptions};
use portcullis_testkit::{IMAGE, portcullis, wait_for};
use serde_json::{Value, json};

/// Exit code, standard output, standard error.
fn ask(cluster: &Cluster, plugin: &Path, line: &str) -> (Option<i32>, String, String) {
    let control = cluster.control();
    let mut command = control.namespace().command(plugin);
    command.args(line.split(' ')).arg("--kubeconfig").arg(control.admin().unwrap());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Asks until the answer is as wanted, and shows it.
fn wait(cluster: &Cluster, plugin: &Path, line: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut last = None;
    let text = wait_for(&format!("an answer to {line:?} as wanted"), || {
        let (code, text, why) = ask(cluster, plugin, line);
        let fine = code == Some(0) && wanted(&text);
        last = Some((code, text.clone(), why));
        fine.then_some(text)
    });
    let text = text.unwrap_or_else(|error| panic!("{error:#}\n{last:?}\n{}", cluster.news()));
    println!("--- kubectl portcullis {line}\n{text}");
    text
}

#[test]
fn the_plugin_reaches_a_hub_and_through_it_the_agents() {
    let cluster = ClusterOptions::default().nodes(2).portcullis().start().unwrap();
    cluster.install(&[]).unwrap_or_else(|error| panic!("{error:#}"));
    let plugin = cluster.control().directory().join("kubectl-portcullis");
    symlink(portcullis().unwrap(), &plugin).unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 1, "containers": [
            {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/forger", "pause"]}]}});
    cluster.control().apply(&pod.to_string()).unwrap();
    cluster.control().wait_pod("default", "web").unwrap();

    let ask = |line: &str| ask(&cluster, &plugin, line);
    let wait = |line: &str, wanted: &dyn Fn(&str) -> bool| wait(&cluster, &plugin, line, wanted);
    wait("nodes", &|text| text.matches(" present ").count() == 2);
    wait("map -n default", &|text| text.contains("default/web") && text.ends_with("2 nodes: 1 bound\n"));
    wait("status", &|text| text.contains("leads") && text.contains("2: 2 present"));
    let text = wait("endpoints -n default -o json", &|text| text.contains("\"default/web\""));
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&all["endpoints"][0]["node"], &all["endpoints"][0]["mode"]),
        (&json!("node-1"), &json!("enforce"))
    );

    let (code, text, why) = ask("quarantine web");
    assert_eq!(code, Some(0), "{why}");
    assert_eq!(
        text,
        "default/web on node-1 is in quarantine: everything from and to it is dropped until it is released\n"
    );
    wait("map -n default", &|text| text.contains("QUARANTINED"));
    let (code, text, why) = ask("release default/web --node node-1");
    assert_eq!(code, Some(0), "{why}");
    assert!(text.starts_with("default/web on node-1 is released, and is active"), "{text}");
    wait("events --last 200", &|text| {
        text.contains(
            "was put into quarantine by system:serviceaccount:portcullis-system:portcullis-operator",
        )
    });
    let (code, _, why) = ask("release nobody");
    assert_eq!(code, Some(4), "{why}");
}
