//! Checks what ARCHITECTURE.md promises: who may depend on whom, and what stays in one place.
//!
//! It reads manifests and sources as text: fast, without a parser, and strict enough for a house rule.

mod manifest;
mod source;

use anyhow::{Result, bail};
use std::path::Path;

use manifest::Manifest;
use source::Source;

/// A crate and the crates of ours it may depend on; one that is not named here may not exist.
const MAY_USE: [(&str, &[&str]); 23] = [
    ("abi", &[]),
    ("engine", &["abi"]),
    ("ebpf", &["abi", "engine"]),
    ("ebpf-build", &[]),
    ("datapath", &["abi", "ebpf-build"]),
    ("policy", &["abi"]),
    ("inventory", &["abi", "policy"]),
    ("runtimes", &["abi", "policy", "inventory"]),
    ("cni", &["policy", "inventory"]),
    ("web", &["policy"]),
    ("kubernetes", &["policy", "inventory", "runtimes"]),
    ("hub", &["policy", "kubernetes", "web"]),
    // The engine for its header types alone: the agent decodes the frames that events carry.
    ("agent", &["abi", "engine", "datapath", "policy", "inventory", "runtimes", "kubernetes", "web"]),
    ("probe", &["abi"]),
    ("cli", &["abi", "agent", "cni", "hub", "kubernetes", "policy", "probe"]),
    // For developers only; never a dependency but of tests.
    ("forger", &["abi", "probe"]),
    (
        "testkit",
        &[
            "abi",
            "engine",
            "datapath",
            "policy",
            "inventory",
            "cni",
            "runtimes",
            "kubernetes",
            "hub",
            "agent",
            "probe",
            "forger",
        ],
    ),
    ("deploy-check", &[]),
    ("simulation", &["policy", "runtimes", "kubernetes", "hub"]),
    ("bench", &["abi", "engine", "datapath", "policy", "agent", "probe", "testkit"]),
    ("demo", &["abi", "policy", "probe", "testkit"]),
    ("kernel-check", &["abi", "engine", "datapath", "inventory", "policy", "probe", "testkit"]),
    ("xtask", &["ebpf-build"]),
];

/// Crates that are no part of the product: they print, and fail with whatever error they have.
const TOOLS: [&str; 9] = [
    "deploy-check",
    "simulation",
    "testkit",
    "forger",
    "bench",
    "demo",
    "kernel-check",
    "xtask",
    "ebpf-build",
];

/// The engine runs in the kernel: nothing but plain data.
const ENGINE_MAY_USE: [&str; 1] = ["zerocopy"];

/// Policy is pure: nothing that opens, connects or waits.
const POLICY_MAY_NOT_USE: [&str; 12] = [
    "aya",
    "axum",
    "hyper",
    "hyper-util",
    "libc",
    "netlink-sys",
    "nix",
    "redb",
    "rustix",
    "tempfile",
    "tokio",
    "tracing-subscriber",
];
const POLICY_MAY_NOT_SAY: [&str; 5] =
    ["std::fs", "std::env", "std::process", "std::net::Tcp", "std::net::Udp"];

/// Files are read from top to bottom by people.
const MOST_LINES: usize = 400;

/// Fails, after naming everything that breaks a rule.
pub fn check(root: &Path) -> Result<()> {
    let mut complaints = Vec::new();
    for manifest in manifest::all(root)? {
        dependencies(&manifest, &mut complaints);
        let sources = source::all(&manifest.directory)?;
        for source in &sources {
            contents(&manifest.name, source, root, &mut complaints);
        }
    }
    for complaint in &complaints {
        println!("    {complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} invariants are broken; they are named above", complaints.len());
    }
    Ok(())
}

fn dependencies(manifest: &Manifest, complaints: &mut Vec<String>) {
    let name = manifest.name.as_str();
    let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
        complaints.push(format!("{name}: not in the list of crates (xtask/src/invariants.rs)"));
        return;
    };
    for dependency in &manifest.dependencies {
        let foreign = match dependency.strip_prefix("portcullis-") {
            Some(ours) => {
                if !allowed.contains(&ours) {
                    complaints.push(format!("{name}: may not depend on {dependency}"));
                }
                continue;
            }
            None => dependency.as_str(),
        };
        let reason = match (name, foreign) {
            ("engine", _) if !ENGINE_MAY_USE.contains(&foreign) => "the engine runs in the kernel",
            ("policy", _) if POLICY_MAY_NOT_USE.contains(&foreign) => "policy does no I/O",
            (_, "aya" | "aya-obj") if name != "datapath" && !TOOLS.contains(&name) => {
                "only datapath touches BPF"
            }
            (_, "aya-ebpf") if name != "ebpf" => "only ebpf runs in the kernel",
            (_, "anyhow") if name != "cli" && !TOOLS.contains(&name) => "libraries have typed errors",
            _ => continue,
        };
        complaints.push(format!("{name}: may not depend on {foreign}: {reason}"));
    }
}

fn contents(name: &str, source: &Source, root: &Path, complaints: &mut Vec<String>) {
    let path = source.path.strip_prefix(root).unwrap_or(&source.path).display();
    if source.lines.len() > MOST_LINES {
        complaints.push(format!("{path}: {} lines, more than {MOST_LINES}", source.lines.len()));
    }
    let prints = name == "cli" || TOOLS.contains(&name) || source.is_build_script();
    // The kernel programs and the one file of each crate that talks to the kernel.
    let may_be_unsafe = matches!(name, "ebpf" | "datapath") || source.is_sys();
    for (number, line) in source.code() {
        let mut complain = |what: &str| complaints.push(format!("{path}:{number}: {what}"));
        if !prints && ["println!", "print!", "eprint!"].iter().any(|word| line.contains(word)) {
            complain("only the command line prints");
        }
        if !may_be_unsafe && source::has_unsafe(&line) {
            complain("unsafe belongs into ebpf, datapath or a file named sys.rs");
        }
        if line.contains("SYS_bpf") && !matches!(name, "datapath" | "testkit") {
            complain("only datapath calls bpf(2), and the tests that sabotage it");
        }
        if name == "policy" && POLICY_MAY_NOT_SAY.iter().any(|word| line.contains(word)) {
            complain("policy does no I/O");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, dependencies: &[&str]) -> Vec<String> {
        let manifest = Manifest {
            name: name.to_owned(),
            directory: "/nowhere".into(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut complaints = Vec::new();
        super::dependencies(&manifest, &mut complaints);
        complaints
    }

    #[test]
    fn dependencies_point_one_way() {
        assert!(complaints("engine", &["portcullis-abi", "zerocopy"]).is_empty());
        assert_eq!(complaints("engine", &["aya-ebpf", "portcullis-policy"]).len(), 2);
        assert_eq!(complaints("policy", &["tokio", "serde"]).len(), 1);
        assert_eq!(complaints("agent", &["aya"]).len(), 1);
        assert_eq!(complaints("xtask", &["portcullis-datapath"]).len(), 1);
        assert_eq!(complaints("new", &[]).len(), 1);
    }

    #[test]
    fn this_checkout_has_manifests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names: Vec<_> = manifest::all(root).unwrap().into_iter().map(|manifest| manifest.name).collect();
        assert!(names.contains(&"engine".to_owned()) && names.contains(&"xtask".to_owned()), "{names:?}");
    }
}
