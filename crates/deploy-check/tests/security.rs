//! What containers may do, and what may reach them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use portcullis_deploy_check::{Helm, Object, Pod, Render, chart, find};
use serde_json::{Value, json};

fn rendered(set: &[&str]) -> Vec<Object> {
    Helm::newest().unwrap().objects(&Render { set, ..Render::default() }).unwrap()
}

fn agent(objects: &[Object]) -> Pod<'_> {
    find(objects, "DaemonSet/portcullis-agent").unwrap().pod().unwrap()
}

fn hub(objects: &[Object]) -> Pod<'_> {
    find(objects, "Deployment/portcullis-hub").unwrap().pod().unwrap()
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// What the agent has by default: docs/kubernetes.md says of each why.
const CAPABILITIES: [&str; 6] = ["BPF", "NET_ADMIN", "NET_BROADCAST", "PERFMON", "SYS_ADMIN", "SYS_PTRACE"];

#[test]
fn no_container_has_more_than_it_needs() {
    let objects = rendered(&[]);
    let mut count = 0;
    for pod in objects.iter().filter_map(Object::pod) {
        for container in pod.containers() {
            let (name, security) = (&container["name"], &container["securityContext"]);
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["privileged"], Value::Null, "{name}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
            let added = list(&security["capabilities"]["add"]);
            assert_eq!(added, if name == "agent" { &CAPABILITIES[..] } else { &[] }, "{name}");
            let seccomp =
                [&security["seccompProfile"]["type"], &pod.spec["securityContext"]["seccompProfile"]["type"]];
            assert!(seccomp.contains(&&json!("RuntimeDefault")), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
            assert!(container["resources"]["requests"]["cpu"].is_string(), "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 4);
    for pod in [hub(&objects), find(&objects, "Job/portcullis-uninstall").unwrap().pod().unwrap()] {
        assert_eq!(pod.spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!((&pod.spec["hostPID"], &pod.spec["volumes"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(hub(&objects).spec["hostNetwork"], Value::Null);
}

#[test]
fn capabilities_follow_the_kernel_and_the_runtime() {
    let added = |set: &[&str]| -> Vec<String> {
        let objects = rendered(set);
        let agent = agent(&objects).container("agent").unwrap();
        list(&agent["securityContext"]["capabilities"]["add"]).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(
        added(&["agent.legacyCapabilities=true"]),
        ["NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_PTRACE", "SYS_RESOURCE"]
    );
    assert!(added(&["agent.extraCapabilities={NET_RAW}"]).contains(&"NET_RAW".to_owned()));
    let objects = rendered(&["agent.privileged=true"]);
    let security = &agent(&objects).container("agent").unwrap()["securityContext"];
    assert_eq!(security, &json!({"privileged": true, "readOnlyRootFilesystem": true}));
}

/// Only on request: nobody else may mount for the host.
#[test]
fn the_bpf_file_system_is_mounted_by_a_privileged_step_on_request() {
    let objects = rendered(&["agent.bpffs.mount=true"]);
    let pod = agent(&objects);
    let step = pod.container("mount-bpffs").unwrap();
    assert_eq!(step["securityContext"]["privileged"], true);
    assert_eq!(step["volumeMounts"][0]["mountPropagation"], "Bidirectional");
    assert_eq!(pod.spec["initContainers"][0]["name"], "mount-bpffs", "before anything else");
    assert_eq!(pod.container("agent").unwrap()["securityContext"]["privileged"], Value::Null);
}

#[test]
fn the_agent_sees_the_node_and_writes_what_is_its_own() {
    let objects = rendered(&[]);
    let pod = agent(&objects);
    assert_eq!((&pod.spec["hostNetwork"], &pod.spec["hostPID"]), (&json!(true), &json!(true)));
    assert_eq!(pod.spec["priorityClassName"], "system-node-critical");
    assert_eq!(pod.spec["tolerations"], json!([{"operator": "Exists"}]));
    let mounts = pod.container("agent").unwrap()["volumeMounts"].as_array().unwrap();
    let of = |writable: bool| -> BTreeSet<&str> {
        let matching = mounts.iter().filter(|mount| (mount["readOnly"] != true) == writable);
        matching.map(|mount| mount["mountPath"].as_str().unwrap()).collect()
    };
    let writable = [
        "/etc/cni/net.d",
        "/opt/cni/bin",
        "/run/portcullis",
        "/sys/fs/bpf",
        "/sys/kernel/rcu_expedited",
        "/var/lib/portcullis",
    ];
    assert_eq!(of(true), writable.into());
    let readable =
        ["/etc/portcullis", "/run/containerd", "/run/crio", "/run/netns", "/sys/fs/cgroup", "/var/run/netns"];
    assert_eq!(of(false), readable.into());
    // What the host mounts later must be seen.
    for path in ["/sys/fs/bpf", "/run/netns", "/var/run/netns", "/run/containerd"] {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
        assert_eq!(mount["mountPropagation"], "HostToContainer", "{path}");
    }
    volumes_and_mounts_agree(&objects);
}

fn volumes_and_mounts_agree(objects: &[Object]) {
    for pod in objects.iter().filter_map(Object::pod) {
        let names = |list: &Value| -> BTreeSet<String> {
            list.as_array()
                .into_iter()
                .flatten()
                .map(|item| item["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let mounted: BTreeSet<String> =
            pod.containers().flat_map(|container| names(&container["volumeMounts"])).collect();
        assert_eq!(names(&pod.spec["volumes"]), mounted);
    }
}

#[test]
fn cni_steps_follow_the_values() {
    let steps = |set: &[&str]| -> (Vec<String>, Vec<String>) {
        let objects = rendered(set);
        volumes_and_mounts_agree(&objects);
        let pod = agent(&objects);
        let args = pod.spec["initContainers"][0]["args"].clone();
        let environment = pod.container("agent").unwrap()["env"].as_array().unwrap().clone();
        let dirs =
            environment.iter().filter(|one| one["name"].as_str().unwrap().starts_with("PORTCULLIS_CNI"));
        let dirs = dirs.map(|one| one["value"].as_str().unwrap().to_owned()).collect();
        (list(&args).into_iter().map(str::to_owned).collect(), dirs)
    };
    assert_eq!(steps(&["cni.enabled=false"]), (vec![], vec![]));
    let (args, dirs) =
        steps(&["cni.confDir=/etc/k3s", "cni.binDir=/opt/k3s", "cni.network=pods", "cni.onAgentDown=pass"]);
    assert_eq!(
        args,
        [
            "cni",
            "install",
            "--conf-dir=/etc/k3s",
            "--bin-dir=/opt/k3s",
            "--name=pods",
            "--agent-socket=/run/portcullis/portcullis.sock",
            "--on-agent-down=pass"
        ]
    );
    assert_eq!(dirs, ["/etc/k3s", "/opt/k3s"]);
    let (args, dirs) = steps(&["cni.enabled=false", "cni.remove=true"]);
    assert_eq!(args[..2], ["cni", "uninstall"]);
    assert!(dirs.is_empty());
}

#[test]
fn sockets_of_runtimes_are_reached_by_their_directories() {
    let sockets =
        "agent.runtimeSockets={/run/k3s/containerd/containerd.sock,/run/cri-dockerd.sock,/run/x.sock}";
    let objects = rendered(&[sockets]);
    let mounts = agent(&objects).container("agent").unwrap()["volumeMounts"].clone();
    let paths: Vec<&str> =
        mounts.as_array().unwrap().iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/run/k3s/containerd") && !paths.contains(&"/run/crio"));
    assert_eq!(paths.iter().filter(|path| **path == "/run").count(), 1);
    let config =
        find(&objects, "ConfigMap/portcullis-agent").unwrap().text("/data/portcullis.toml").to_owned();
    assert_eq!(config.matches("[[source]]\nkind = \"cri\"\n").count(), 3, "{config}");
    assert!(config.contains("socket = \"/run/cri-dockerd.sock\""));
}

/// Another configuration makes other agents; another version of the chart as well.
#[test]
fn agents_are_exchanged_when_their_configuration_changes() {
    let mark = |set: &[&str]| {
        let objects = rendered(set);
        let pod = agent(&objects);
        assert_eq!(pod.metadata["labels"]["app.kubernetes.io/component"], "agent");
        pod.metadata["annotations"]["portcullis.dev/config"].clone()
    };
    assert_eq!(mark(&[]), mark(&["hub.dryRun=true"]));
    assert_ne!(mark(&[]), mark(&["agent.config.unbound=drop"]));
    let objects = rendered(&["agent.updateStrategy.maxUnavailable=3"]);
    let strategy = find(&objects, "DaemonSet/portcullis-agent").unwrap().at("/spec/updateStrategy").clone();
    // Never two agents on a node: the second would not start.
    assert_eq!(strategy, json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 3}}));
}

#[test]
fn the_network_lets_in_who_scrapes_and_nobody_else() {
    let policy = |render: Render<'_>| {
        let objects = Helm::newest().unwrap().objects(&render).unwrap();
        let hub = hub(&objects).metadata["labels"].clone();
        let policy = find(&objects, "NetworkPolicy/portcullis-hub").unwrap().at("/spec").clone();
        for (label, value) in policy["podSelector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&hub[label], value, "the policy selects the hubs");
        }
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        policy
    };
    let default = policy(Render::default());
    let from = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    assert_eq!(
        default["ingress"],
        json!([{"from": from, "ports": [{"port": "metrics", "protocol": "TCP"}]}])
    );
    let ports: Vec<&Value> =
        default["egress"].as_array().unwrap().iter().map(|rule| &rule["ports"]).collect();
    let tcp = |port: u16| json!({"port": port, "protocol": "TCP"});
    let dns = json!([{"port": 53, "protocol": "UDP"}, tcp(53)]);
    assert_eq!(ports, [&json!([tcp(443), tcp(6443)]), &dns, &json!([tcp(8475)])]);
    // An empty list must not come out as a rule: a rule without `from` lets everybody in.
    let closed = policy(Render { set_json: &["networkPolicy.metricsFrom=[]"], ..Render::default() });
    assert_eq!(closed["ingress"], json!([]));
    let narrow = policy(Render {
        set: &["networkPolicy.nodes.cidrs={10.0.0.0/8}", "kubernetesApi.host=api", "kubernetesApi.port=8443"],
        ..Render::default()
    });
    assert_eq!(narrow["egress"][2]["to"], json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]));
    assert_eq!(narrow["egress"][0]["ports"], json!([tcp(443), tcp(6443), tcp(8443)]));
}

#[test]
fn hubs_are_spread_and_one_stays() {
    let objects = rendered(&[]);
    let deployment = find(&objects, "Deployment/portcullis-hub").unwrap();
    assert_eq!(deployment.at("/spec/replicas"), 2);
    assert_eq!(find(&objects, "PodDisruptionBudget/portcullis-hub").unwrap().at("/spec/maxUnavailable"), 1);
    let labels = &hub(&objects).metadata["labels"];
    for constraint in hub(&objects).spec["topologySpreadConstraints"].as_array().unwrap() {
        for (label, value) in constraint["labelSelector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[label], value);
        }
    }
    let service = find(&objects, "Service/portcullis-hub").unwrap();
    let ports = hub(&objects).container("hub").unwrap()["ports"].clone();
    for port in service.at("/spec/ports").as_array().unwrap() {
        assert!(ports.as_array().unwrap().iter().any(|one| one["name"] == port["targetPort"]), "{port}");
    }
}

/// `helm uninstall`: the agents end while they still have their rights.
#[test]
fn what_uninstalls_has_its_own_rights_for_as_long_as_it_takes() {
    let objects = rendered(&[]);
    let hooks: Vec<&Object> = objects
        .iter()
        .filter(|object| object.at("/metadata/annotations/helm.sh~1hook").is_string())
        .collect();
    assert_eq!(hooks.len(), 4, "account, role, binding, job");
    for hook in hooks {
        assert_eq!(hook.text("/metadata/annotations/helm.sh~1hook"), "pre-delete");
        assert!(hook.text("/metadata/annotations/helm.sh~1hook-delete-policy").contains("hook-succeeded"));
        let weight = hook.text("/metadata/annotations/helm.sh~1hook-weight");
        assert_eq!(weight, if hook.kind() == "Job" { "" } else { "-5" }, "rights come before the job");
    }
    let job = find(&objects, "Job/portcullis-uninstall").unwrap();
    assert_eq!(job.at("/spec/activeDeadlineSeconds"), 270);
    let pod = job.pod().unwrap();
    // A node whose agent is gone starts no other pod.
    assert_eq!(pod.spec["hostNetwork"], true);
    let args = pod.container("uninstall").unwrap()["args"].clone();
    let expected = [
        "kubernetes",
        "uninstall",
        "--namespace=portcullis-system",
        "--daemonset=portcullis-agent",
        "--timeout=240s",
    ];
    assert_eq!(list(&args), expected);
    assert!(
        Helm::newest().unwrap().objects(&Render { no_hooks: true, ..Render::default() }).unwrap().len() > 20
    );
}

/// The profile that comes with the chart allows what the agent needs, and none of what would lead out of it.
#[test]
fn the_seccomp_profile_is_narrow() {
    let text = std::fs::read_to_string(chart().join("files/seccomp/agent.json")).unwrap();
    let profile: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let mut allowed = BTreeSet::new();
    for rule in profile["syscalls"].as_array().unwrap() {
        assert_eq!(rule["action"], "SCMP_ACT_ALLOW");
        allowed.extend(list(&rule["names"]));
    }
    for needed in ["bpf", "setns", "chmod", "pidfd_open", "execve", "connect", "epoll_wait", "futex"] {
        assert!(allowed.contains(needed), "{needed}");
    }
    let never = [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "reboot",
        "swapon",
        "swapoff",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "unshare",
        "open_by_handle_at",
        "keyctl",
        "add_key",
        "request_key",
        "userfaultfd",
        "iopl",
        "ioperm",
        "settimeofday",
        "clock_settime",
        "sethostname",
        "syslog",
        "acct",
        "quotactl",
        "move_mount",
        "open_tree",
        "fsopen",
        "io_uring_setup",
        "pidfd_getfd",
    ];
    for forbidden in never {
        assert!(!allowed.contains(forbidden), "{forbidden}");
    }
}
