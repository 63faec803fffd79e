//! Who may do what: at the least, and as the documentation says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use portcullis_deploy_check::rights::{Right, of_account, of_role, table};
use portcullis_deploy_check::{ADMISSION, Helm, Object, Render, find, root};

fn objects() -> Vec<Object> {
    Helm::newest().unwrap().objects(&Render { apis: &[ADMISSION], ..Render::default() }).unwrap()
}

fn may(rights: &BTreeSet<Right>, verb: &str, what: &str) -> bool {
    rights.iter().any(|right| right.verb == verb && right.what == what)
}

/// Verbs that change something.
fn changes(right: &Right) -> bool {
    !["get", "list", "watch"].contains(&right.verb.as_str())
}

#[test]
fn an_agent_can_neither_delete_nor_change_a_pod() {
    let rights = of_account(&objects(), "portcullis-agent").unwrap();
    assert!(may(&rights, "watch", "pods"));
    let changed: BTreeSet<&str> =
        rights.iter().filter(|right| changes(right)).map(|right| right.what.as_str()).collect();
    let expected = ["events", "portcullis.dev/endpointmaps", "portcullis.dev/endpointmaps/status"];
    assert_eq!(changed, expected.into());
    // Nothing that could be used as such: no subresource of pods, no eviction.
    assert!(!rights.iter().any(|right| right.what.starts_with("pods/")));
    assert!(!rights.iter().any(|right| right.verb == "delete" || right.verb == "deletecollection"));
}

#[test]
fn only_a_hub_deletes_pods_and_writes_the_status_of_policies() {
    let objects = objects();
    let accounts: BTreeSet<&str> = objects
        .iter()
        .filter(|object| object.kind() == "ServiceAccount")
        .map(|account| account.name())
        .collect();
    assert_eq!(accounts.len(), 5, "{accounts:?}");
    let who = |verb: &str, what: &str| -> Vec<&str> {
        let rights = |account: &str| of_account(&objects, account).unwrap();
        accounts.iter().copied().filter(|account| may(&rights(account), verb, what)).collect()
    };
    assert_eq!(who("delete", "pods"), ["portcullis-hub"]);
    assert_eq!(who("create", "pods/eviction"), ["portcullis-hub"]);
    assert_eq!(who("patch", "portcullis.dev/gatepolicies/status"), ["portcullis-hub"]);
    assert_eq!(who("patch", "portcullis.dev/endpointmaps/status"), ["portcullis-agent"]);
    assert_eq!(who("delete", "apps/daemonsets"), ["portcullis-uninstall"]);
    assert_eq!(who("put", "/portcullis/api/v1/endpoints/*"), ["portcullis-operator"]);
    assert_eq!(who("get", "/portcullis/api/v1/*"), ["portcullis-operator", "portcullis-reader"]);
}

/// What gives more than it says.
#[test]
fn nobody_has_a_star_a_secret_or_a_way_to_more_rights() {
    let forbidden_verbs = ["*", "escalate", "bind", "impersonate", "approve", "sign", "deletecollection"];
    let forbidden = [
        "secrets",
        "pods/exec",
        "pods/attach",
        "pods/ephemeralcontainers",
        "nodes/proxy",
        "services/proxy",
        "nodes/status",
        "rbac.authorization.k8s.io/roles",
        "rbac.authorization.k8s.io/clusterroles",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/clusterrolebindings",
    ];
    for role in objects().iter().filter(|object| object.kind().ends_with("Role")) {
        for right in of_role(role, false).unwrap() {
            let place = format!("{}: {right:?}", role.id());
            assert!(!forbidden_verbs.contains(&right.verb.as_str()), "{place}");
            assert!(!right.what.contains('*') || right.what.starts_with("/portcullis/"), "{place}");
            assert!(!forbidden.contains(&right.what.as_str()), "{place}");
            // Tokens are given for our accounts only, and nobody of ours gives them.
            if right.what == "serviceaccounts/token" {
                assert!(role.name().starts_with("portcullis-kubectl-") && !right.names.is_empty(), "{place}");
            }
            // Within the namespace things are named, but for what is created and for pods.
            if role.kind() == "Role" && right.verb != "create" && !right.what.starts_with("pods") {
                assert!(!right.names.is_empty(), "{place}");
            }
        }
    }
}

/// Nobody runs with the rights of people, and people who read cannot get those of operators.
#[test]
fn readers_stay_readers() {
    let objects = objects();
    let tokens = |role: &str| -> Vec<String> {
        let rights = of_role(find(&objects, role).unwrap(), false).unwrap();
        rights
            .into_iter()
            .filter(|right| right.what == "serviceaccounts/token")
            .flat_map(|r| r.names)
            .collect()
    };
    assert_eq!(tokens("Role/portcullis-kubectl-reader"), ["portcullis-reader"]);
    assert_eq!(tokens("Role/portcullis-kubectl-operator"), ["portcullis-reader", "portcullis-operator"]);
    let bound = |role: &str| {
        objects
            .iter()
            .filter(|object| object.text("/roleRef/name") == role)
            .map(Object::id)
            .collect::<Vec<_>>()
    };
    assert!(bound("portcullis-kubectl-reader").is_empty() && bound("portcullis-kubectl-operator").is_empty());
    for pod in objects.iter().filter_map(Object::pod) {
        let account = pod.spec["serviceAccountName"].as_str().unwrap();
        assert!(!["portcullis-reader", "portcullis-operator"].contains(&account));
    }
    for account in objects.iter().filter(|object| object.kind() == "ServiceAccount") {
        assert_eq!(account.at("/automountServiceAccountToken"), false, "{}", account.id());
    }
}

/// Every right stands there, and no other; behind each is said what for.
#[test]
fn the_documentation_has_every_right() {
    let objects = objects();
    let mut rows = BTreeSet::new();
    let mut add = |who: &str, rights: &BTreeSet<Right>| {
        rows.extend(table(rights).into_iter().map(|line| format!("| {who} | {line} |")));
    };
    for who in ["agent", "hub", "uninstall", "reader", "operator"] {
        add(who, &of_account(&objects, &format!("portcullis-{who}")).unwrap());
    }
    for who in ["reader", "operator"] {
        let role = find(&objects, &format!("Role/portcullis-kubectl-{who}")).unwrap();
        add(&format!("a person, as {who}"), &of_role(role, false).unwrap());
    }
    let text = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let (_, table) =
        text.split_once("| who | where | what | verbs | what for |\n|---|---|---|---|---|\n").unwrap();
    let written: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
    let missing: Vec<&String> =
        rows.iter().filter(|row| !written.iter().any(|line| line.starts_with(row.as_str()))).collect();
    let wrong: Vec<&&str> =
        written.iter().filter(|line| !rows.iter().any(|row| line.starts_with(row.as_str()))).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "docs/kubernetes.md lacks {missing:#?}, and has {wrong:#?}"
    );
}

/// What RBAC cannot say: an agent's EndpointMap is its own node's, and port-forward reaches hubs only.
#[test]
fn admission_closes_what_rbac_leaves_open() {
    let objects = objects();
    let own = find(&objects, "ValidatingAdmissionPolicy/portcullis-agent").unwrap();
    assert_eq!(own.text("/spec/failurePolicy"), "Fail");
    assert_eq!(
        own.text("/spec/matchConditions/0/expression"),
        r#"request.userInfo.username == "system:serviceaccount:portcullis-system:portcullis-agent""#
    );
    assert!(own.text("/spec/variables/0/expression").contains("authentication.kubernetes.io/node-name"));
    let resources = own.at("/spec/matchConstraints/resourceRules/0/resources");
    assert_eq!(resources, &serde_json::json!(["endpointmaps", "endpointmaps/status"]));
    for name in ["portcullis-agent", "portcullis-portforward"] {
        let binding = find(&objects, &format!("ValidatingAdmissionPolicyBinding/{name}")).unwrap();
        assert_eq!(binding.text("/spec/policyName"), name);
        assert_eq!(binding.at("/spec/validationActions"), &serde_json::json!(["Deny"]));
    }
}
