//! Writes the statuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use portcullis_kubernetes::crd::{GROUP, GatePolicy, GatePolicyStatus, VERSION};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::assess::{OwnPod, Picture, assess};
use super::conditions::{is_same, news, status};
use crate::announce::{Announcement, Announcer, Subject};
use crate::clock::now;
use crate::election::Leadership;
use crate::troubles::{Asking, Troubles};
use crate::world::{Part, World};

const MANAGER: &str = "portcullis-hub";
/// What nodes say is summed up at most so often: every status goes to every agent.
const SETTLE: Duration = Duration::from_secs(30);
/// More often for a minute after a policy has changed: somebody may be watching what becomes of it.
const WATCHED: Duration = Duration::from_secs(60);
const SETTLE_WATCHED: Duration = Duration::from_secs(5);
/// Whoever wrote a policy waits for what becomes of it.
const SOON: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);
/// Without any change: whoever overwrites a status finds it put right.
const ANEW: Duration = Duration::from_secs(60);

/// All that the writer goes by.
#[derive(Debug)]
pub struct Writer {
    /// The cluster.
    pub world: World,
    /// Whether this hub leads.
    pub leadership: Leadership,
    /// Our own pods.
    pub own: watch::Receiver<Vec<OwnPod>>,
    /// Events on policies.
    pub announcer: Announcer,
    /// Troubles.
    pub troubles: Troubles,
    /// Tells the name of a policy for each pod that was ended because of it.
    pub ended: mpsc::UnboundedReceiver<String>,
}

/// Writes for ever; once more when the reaper has gone.
pub async fn run(client: Client, mut writer: Writer) {
    let api: Api<GatePolicy> = Api::all(client);
    let mut changes = writer.world.changes();
    let mut rules = writer.world.follow_rules();
    let mut leadership = writer.leadership.clone();
    let mut terminated: BTreeMap<String, i64> = BTreeMap::new();
    let mut due = Instant::now();
    let mut written = Instant::now();
    let mut watched = Instant::now() + WATCHED;
    loop {
        tokio::select! {
            policy = writer.ended.recv() => {
                let Some(policy) = policy else { break };
                writer.count(&mut terminated, &policy);
                due = due.min(Instant::now() + SOON);
            }
            changed = changes.changed() => {
                if changed.is_err() { return }
                let now = Instant::now();
                let settle = if now < watched { SETTLE_WATCHED } else { SETTLE };
                due = due.min((written + settle).max(now + SOON));
            }
            changed = rules.changed() => {
                if changed.is_err() { return }
                due = due.min(Instant::now() + SOON);
                watched = Instant::now() + WATCHED;
            }
            () = leadership.changed() => {}
            () = tokio::time::sleep_until(due) => {
                written = Instant::now();
                due = written + ANEW;
                writer.write_all(&api, &mut terminated).await;
            }
        }
    }
    writer.write_all(&api, &mut terminated).await;
}

impl Writer {
    /// Totals are kept by the object's UID: one that is made anew begins at nothing.
    fn count(&self, terminated: &mut BTreeMap<String, i64>, policy: &str) {
        let rules = self.world.rules();
        let Some(rule) = rules.rules.get(policy) else { return };
        let known = rule.object.status.as_ref().map_or(0, |status| status.terminated);
        let total = terminated.entry(rule.object.uid().unwrap_or_default()).or_insert(known);
        *total = (*total).max(known) + 1;
    }

    async fn write_all(&self, api: &Api<GatePolicy>, terminated: &mut BTreeMap<String, i64>) {
        let ready = self.world.is_whole() && self.world.is_read(Part::Policies);
        if !ready || !self.leadership.is_certain(now()) {
            return;
        }
        let rules = self.world.rules();
        let picture = Picture::new(self.world.map().maps());
        let own = self.own.borrow().clone();
        let assessments = assess(&rules, &picture, &own);
        let present: Vec<String> = rules.rules.values().filter_map(|rule| rule.object.uid()).collect();
        terminated.retain(|uid, _| present.contains(uid));
        let mut trouble = None;
        for (name, assessment) in &assessments {
            let Some(rule) = rules.rules.get(name) else { continue };
            let before = rule.object.status.as_ref();
            let known = before.map_or(0, |status| status.terminated);
            let total =
                terminated.get(&rule.object.uid().unwrap_or_default()).copied().unwrap_or(0).max(known);
            let wanted = status(assessment, before, total, Timestamp::now());
            if before.is_some_and(|before| is_same(before, &wanted)) {
                continue;
            }
            match self.write(api, name, &wanted).await {
                Ok(true) => self.announce(&rule.object, before, &wanted),
                Ok(false) => {}
                Err(why) => trouble = Some(why),
            }
        }
        self.troubles.say("status", trouble, false);
    }

    /// Whether it was written; not so if the policy is gone, or this hub leads no more.
    async fn write(
        &self,
        api: &Api<GatePolicy>,
        name: &str,
        status: &GatePolicyStatus,
    ) -> Result<bool, String> {
        if !self.leadership.is_certain(now()) {
            return Ok(false);
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "GatePolicy",
            "metadata": {"name": name},
            "status": status,
        });
        let asking = Asking {
            verb: "patch",
            resource: "gatepolicies.portcullis.dev/status",
            role: "ClusterRole portcullis-hub",
        };
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(object);
        let patched = tokio::time::timeout(PATIENCE, api.patch_status(name, &params, &patch));
        match patched.await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(false),
            Ok(Err(error)) => Err(asking.failed(&error)),
            Err(_) => Err(asking.silent(PATIENCE)),
        }
    }

    fn announce(&self, object: &Arc<GatePolicy>, before: Option<&GatePolicyStatus>, now: &GatePolicyStatus) {
        for condition in news(before, now) {
            let reason = match condition.type_.as_str() {
                "Accepted" => "Refused",
                "Matching" => "NothingMatches",
                "Conflicting" => "Conflicting",
                _ => "Spared",
            };
            self.announcer.say(Announcement {
                subject: Subject {
                    api_version: format!("{GROUP}/{VERSION}"),
                    kind: "GatePolicy".into(),
                    namespace: String::new(),
                    name: object.name_any(),
                    uid: object.uid().unwrap_or_default(),
                },
                warning: reason != "NothingMatches",
                reason,
                message: condition.message.clone(),
            });
        }
    }
}
