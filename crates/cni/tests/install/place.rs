//! Configurations as others write them, and a place to install into.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use portcullis_cni::install::{Install, Report, Settings, Uninstall, Which};
use serde_json::Value;
use tempfile::TempDir;

/// As Calico's installer writes it.
pub const CALICO: &str = r#"{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "datastore_type": "kubernetes",
      "mtu": 0,
      "ipam": {
          "type": "calico-ipam"
      },
      "policy": {
          "type": "k8s"
      },
      "kubernetes": {
          "kubeconfig": "/etc/cni/net.d/calico-kubeconfig"
      }
    },
    {
      "type": "portmap",
      "snat": true,
      "capabilities": {"portMappings": true}
    },
    {
      "type": "bandwidth",
      "capabilities": {"bandwidth": true}
    }
  ]
}"#;

/// As Flannel's manifest has it, with tabs.
pub const FLANNEL: &str = "{\n\t\"name\": \"cbr0\",\n\t\"cniVersion\": \"0.3.1\",\n\t\"plugins\": [\n\t\t{\n\t\t\t\"type\": \"flannel\",\n\t\t\t\"delegate\": {\n\t\t\t\t\"hairpinMode\": true,\n\t\t\t\t\"isDefaultGateway\": true\n\t\t\t}\n\t\t},\n\t\t{\n\t\t\t\"type\": \"portmap\",\n\t\t\t\"capabilities\": {\n\t\t\t\t\"portMappings\": true\n\t\t\t}\n\t\t}\n\t]\n}\n";

/// As Cilium's agent writes it: one plugin.
pub const CILIUM: &str = "{\n  \"cniVersion\": \"0.3.1\",\n  \"name\": \"cilium\",\n  \"plugins\": [\n    {\n       \"type\": \"cilium-cni\",\n       \"enable-debug\": false,\n       \"log-file\": \"/var/run/cilium/cilium-cni.log\"\n    }\n  ]\n}\n";

/// As a program writes it that saves blanks.
pub const COMPACT: &str = r#"{"cniVersion":"1.0.0","name":"c","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"portmap"}]}"#;

/// As containerd's documentation has it.
pub const SINGLE: &str = "{\n    \"cniVersion\": \"1.0.0\",\n    \"name\": \"mynet\",\n    \"type\": \"bridge\",\n    \"bridge\": \"cni0\",\n    \"ipam\": { \"type\": \"host-local\", \"subnet\": \"10.88.0.0/16\" }\n}\n";

pub struct Place {
    pub root: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        for name in ["net.d", "bin"] {
            fs::create_dir(place.root.path().join(name)).unwrap();
        }
        fs::write(place.root.path().join("portcullis"), b"\x7fELF one").unwrap();
        place
    }

    pub fn with(name: &str, text: &str) -> Self {
        let place = Self::new();
        fs::write(place.path(name), text).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("net.d").join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    pub fn installer(&self) -> Install {
        Install {
            conf_dir: self.root.path().join("net.d"),
            bin_dir: self.root.path().join("bin"),
            which: Which::First,
            settings: Settings::default(),
            binary: self.root.path().join("portcullis"),
            dry_run: false,
        }
    }

    pub fn install(&self) -> Report {
        self.installer().run().unwrap()
    }

    pub fn uninstaller(&self) -> Uninstall {
        Uninstall {
            conf_dir: self.root.path().join("net.d"),
            bin_dir: self.root.path().join("bin"),
            which: Which::First,
            remove_binary: false,
            dry_run: false,
        }
    }

    /// Everything in it: names and contents.
    pub fn everything(&self) -> Vec<(PathBuf, Vec<u8>, u32, u64)> {
        let mut found = Vec::new();
        for directory in ["net.d", "bin"] {
            for entry in fs::read_dir(self.root.path().join(directory)).unwrap() {
                let path = entry.unwrap().path();
                let status = fs::metadata(&path).unwrap();
                found.push((path.clone(), fs::read(&path).unwrap(), status.mode(), status.ino()));
            }
        }
        found.sort();
        found
    }

    /// What a refusal says; and that it changed nothing.
    pub fn refusal(&self, install: &Install) -> String {
        let before = self.everything();
        let error = install.run().unwrap_err().to_string();
        assert_eq!(self.everything(), before);
        assert!(!error.contains('\n'), "{error}");
        error
    }
}
