//! CNI configurations of tests.

use std::path::Path;

use serde_json::{Value, json};

/// A network of pods: the reference plugins with `host-local`, dual stack.
#[derive(Debug, Clone)]
pub struct Conflist {
    name: String,
    main: Value,
    subnets: Vec<String>,
    chained: Vec<Value>,
    version: String,
}

impl Conflist {
    /// The `bridge` plugin; `bridge` is the interface.
    #[must_use]
    pub fn bridge(name: &str, bridge: &str, subnets: &[&str]) -> Self {
        Self::of(name, json!({"type": "bridge", "bridge": bridge, "isGateway": true}), subnets)
    }

    /// The `ptp` plugin: each pod has a pair of its own, and the host routes.
    #[must_use]
    pub fn ptp(name: &str, subnets: &[&str]) -> Self {
        Self::of(name, json!({"type": "ptp"}), subnets)
    }

    fn of(name: &str, main: Value, subnets: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            main,
            subnets: subnets.iter().map(ToString::to_string).collect(),
            chained: Vec::new(),
            version: "1.0.0".to_owned(),
        }
    }

    /// With a further plugin behind it.
    #[must_use]
    pub fn chained(mut self, plugin: Value) -> Self {
        self.chained.push(plugin);
        self
    }

    /// In another version of the specification.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration, with the books of `host-local` in this directory.
    #[must_use]
    pub fn to_json(&self, books: &Path) -> Value {
        let ranges: Vec<Value> = self.subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
        let anywhere = |subnet: &String| if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let routes: Vec<Value> = self.subnets.iter().map(|subnet| json!({"dst": anywhere(subnet)})).collect();
        let mut main = self.main.clone();
        main["ipam"] = json!({"type": "host-local", "dataDir": books, "ranges": ranges, "routes": routes});
        let plugins: Vec<Value> = std::iter::once(main).chain(self.chained.iter().cloned()).collect();
        json!({"cniVersion": self.version, "name": self.name, "plugins": plugins})
    }
}
