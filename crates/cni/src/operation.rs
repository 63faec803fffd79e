//! What each operation of the specification does.

use std::time::{Duration, Instant};

use portcullis_policy::address::{AddressBinding, MacAddress};
use portcullis_policy::api::{CniAttachment, CniGarbage, Endpoint, EndpointState};
use serde::Serialize;

use crate::agent::{Agent, Reply, Silence, attachment_path};
use crate::config::{Config, OnAgentDown, Options};
use crate::environment::{self, Command, Key, Variables};
use crate::error::{CniError, Code};
use crate::host_side::{self, Found};
use crate::result::{Previous, handed_on};
use crate::version::Version;

/// How long taking back may take after a time limit has run out; the promise of two seconds allows for it.
const TAKE_BACK: Duration = Duration::from_millis(50);

/// A call of the plugin.
pub(crate) struct Call<'a> {
    pub(crate) command: Command,
    pub(crate) started: Instant,
    pub(crate) variables: Variables<'a>,
    pub(crate) config: &'a Config<'a>,
}

/// What is said when it is done.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// To the runtime.
    pub(crate) output: Option<String>,
    /// To people.
    pub(crate) remark: Option<String>,
}

impl Said {
    /// Only a result.
    pub(crate) fn output(output: String) -> Self {
        Self { output: Some(output), remark: None }
    }

    fn remark(remark: String) -> Self {
        Self { output: None, remark: Some(remark) }
    }
}

/// Does it.
pub(crate) fn perform(call: &Call<'_>) -> Result<Said, CniError> {
    let since = match call.command {
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
        Command::Add | Command::Del | Command::Version => Version::V0_3_0,
    };
    if call.config.version < since {
        let name = call.command.as_str();
        let details = format!("{name} came with {since}, the configuration is {}", call.config.version);
        let msg = format!("the configuration's version has no {name}");
        return Err(CniError::new(Code::IncompatibleVersion, msg, details));
    }
    match call.command {
        Command::Add => call.add(),
        Command::Del => call.del(),
        Command::Check => call.check(),
        Command::Gc => call.gc(),
        Command::Status => call.status(),
        Command::Version => Ok(Said::default()),
    }
}

/// What `ADD` and `CHECK` are about.
struct Attached {
    key: Key,
    options: Options,
    text: String,
    previous: Previous,
    found: Found,
    addresses: Vec<AddressBinding>,
}

impl Call<'_> {
    fn add(&self) -> Result<Said, CniError> {
        let attached = self.attached()?;
        let Attached { key, options, previous, found, addresses, .. } = &attached;
        let output = handed_on(&attached.text, previous, self.config.version)?.into_owned();
        if found.host.is_none() && !options.bind_inside {
            return Err(no_host_side(found, key));
        }
        let mac: Option<MacAddress> = previous.mac(&key.interface)?.or(found.mac);
        let body = CniAttachment {
            workload: environment::workload(self.variables, key)?,
            netns: environment::netns(self.variables)?.display().to_string(),
            network: self.config.name()?,
            host: found.host.clone(),
            addresses: addresses.clone(),
            macs: mac.into_iter().collect(),
        };
        let agent = self.agent(options);
        let path = attachment_path(&key.container, &key.interface);
        let asked = agent.ask("PUT", &format!("{path}?deadline_ms={}", agent.deadline_ms()), &json(&body)?);
        let silence = match asked {
            Ok(reply) if reply.status == 503 => reply.refusal(),
            Ok(reply) => return bound(&reply).map(|()| Said::output(output)),
            Err(silence) => {
                if silence.may_have_acted() {
                    Agent::new(&options.socket, Instant::now() + TAKE_BACK).tell("DELETE", &path);
                }
                silence.to_string()
            }
        };
        match options.on_agent_down {
            OnAgentDown::Fail => Err(try_later(&silence)),
            OnAgentDown::Pass => {
                let remark = format!(
                    "{} of container {} starts WITHOUT a binding (onAgentDown is \"pass\"): {silence}",
                    key.interface, key.container
                );
                Ok(Said { output: Some(output), remark: Some(remark) })
            }
        }
    }

    /// Always done: the agent learns of the interface's end by itself, and nothing else is ours.
    fn del(&self) -> Result<Said, CniError> {
        let key = Key::read(self.variables)?;
        let options = self.config.lenient_options();
        let path = attachment_path(&key.container, &key.interface);
        match self.agent(&options).ask("DELETE", &path, &[]) {
            Ok(Reply { status: 200..=299 | 404, .. }) => Ok(Said::default()),
            Ok(reply) => Ok(Said::remark(format!("the binding of {path} stays: {}", reply.refusal()))),
            Err(silence) => {
                let remark =
                    format!("{silence}; it takes the binding away when it sees that the interface is gone");
                Ok(Said::remark(remark))
            }
        }
    }

    fn check(&self) -> Result<Said, CniError> {
        let attached = self.attached()?;
        let Attached { key, options, found, addresses, .. } = &attached;
        let passes = options.on_agent_down == OnAgentDown::Pass;
        let reply = match self.ask(options, "GET", &attachment_path(&key.container, &key.interface)) {
            Err(silence) if passes => return Ok(Said::remark(silence.to_string())),
            other => other.map_err(|silence| try_later(&silence.to_string()))?,
        };
        let not_bound =
            |details: String| CniError::new(Code::NotBound, "the binding is not as it should be", details);
        if reply.status == 404 && passes {
            return Ok(Said::remark(format!(
                "{} runs without a binding (onAgentDown is \"pass\")",
                key.container
            )));
        }
        if reply.status != 200 {
            return Err(not_bound(reply.refusal()));
        }
        let endpoint = in_force(&reply)?;
        if let Some(host) = &found.host
            && (endpoint.interface.name != host.name || endpoint.interface.index != Some(host.index))
        {
            let details = format!(
                "endpoint {} is bound to {}, and the host side of {} is {}",
                endpoint.name, endpoint.interface.name, key.interface, host.name
            );
            return Err(not_bound(details));
        }
        let has = |address: &AddressBinding| {
            endpoint
                .addresses
                .iter()
                .any(|text| text.parse().is_ok_and(|bound: AddressBinding| bound == *address))
        };
        match addresses.iter().find(|address| !has(address)) {
            Some(missing) => Err(not_bound(format!("endpoint {} does not have {missing}", endpoint.name))),
            None => Ok(Said::default()),
        }
    }

    fn gc(&self) -> Result<Said, CniError> {
        // No list is not an empty list: that would take every binding away.
        let valid = self.config.valid_attachments()?.ok_or_else(|| {
            let details = "GC needs `cni.dev/valid-attachments`, the attachments that are still in use";
            CniError::config("the configuration does not say what is in use", details)
        })?;
        let body = json(&CniGarbage { network: self.config.name()?, valid })?;
        let reply = self.agent(&self.config.options()?).ask("POST", "/api/v1/cni/gc", &body);
        match reply.map_err(|silence| try_later(&silence.to_string()))? {
            Reply { status: 200..=299, .. } => Ok(Said::default()),
            reply => Err(refused(&reply)),
        }
    }

    fn status(&self) -> Result<Said, CniError> {
        let options = self.config.options()?;
        let why = match self.ask(&options, "GET", "/readyz") {
            Ok(Reply { status: 200, .. }) => return Ok(Said::default()),
            Ok(reply) => reply.refusal(),
            Err(silence) => silence.to_string(),
        };
        match options.on_agent_down {
            OnAgentDown::Fail => Err(CniError::new(Code::NotAvailable, "the agent is not ready", why)),
            OnAgentDown::Pass => Ok(Said::remark(why)),
        }
    }

    fn attached(&self) -> Result<Attached, CniError> {
        let key = Key::read(self.variables)?;
        let netns = environment::netns(self.variables)?;
        let options = self.config.options()?;
        let text = self.config.previous().ok_or_else(|| {
            CniError::config(
                "there is no prevResult",
                "portcullis binds what other plugins made: put it after them, last in the list of `plugins` \
                 (`portcullis cni install` does)",
            )
        })?;
        let previous = Previous::read(text)?;
        let addresses = previous.addresses(&key.interface)?;
        let found = host_side::find(&netns, &key)?;
        host_side::agree(&found, &previous, &key)?;
        Ok(Attached { key, options, text: text.to_owned(), previous, found, addresses })
    }

    fn agent<'o>(&self, options: &'o Options) -> Agent<'o> {
        Agent::new(&options.socket, self.started + options.timeout)
    }

    fn ask(&self, options: &Options, method: &str, path: &str) -> Result<Reply, Silence> {
        self.agent(options).ask(method, path, &[])
    }
}

/// Whether the agent says that the binding is in the kernel.
fn bound(reply: &Reply) -> Result<(), CniError> {
    if !(200..300).contains(&reply.status) {
        return Err(refused(reply));
    }
    in_force(reply).map(drop)
}

fn in_force(reply: &Reply) -> Result<Endpoint, CniError> {
    let endpoint: Endpoint = serde_json::from_slice(&reply.body).map_err(|error| {
        let details = format!("its answer is not understood ({error}): are agent and plugin of one version?");
        CniError::new(Code::Refused, "the agent's answer is not understood", details)
    })?;
    match endpoint.state {
        EndpointState::Active | EndpointState::Quarantined => Ok(endpoint),
        EndpointState::Waiting | EndpointState::Bypassed | EndpointState::Failed => {
            let why = endpoint.message.unwrap_or_else(|| format!("its state is {:?}", endpoint.state));
            let details = format!("endpoint {}: {why}", endpoint.name);
            Err(CniError::new(Code::NotBound, "the binding is not in force", details))
        }
    }
}

fn refused(reply: &Reply) -> CniError {
    CniError::new(Code::Refused, "the agent refused", reply.refusal())
}

fn try_later(why: &str) -> CniError {
    CniError::new(Code::TryAgainLater, "the agent is not available", why)
}

fn no_host_side(found: &Found, key: &Key) -> CniError {
    let details = format!(
        "{} is a {}, which has no other end on the host; set `\"bindInside\": true` in portcullis's entry to \
         bind it inside the container, which a container with CAP_NET_ADMIN can undo",
        key.interface, found.kind
    );
    CniError::config("the interface has no host side", details)
}

fn json<T: Serialize>(body: &T) -> Result<Vec<u8>, CniError> {
    serde_json::to_vec(body)
        .map_err(|error| CniError::new(Code::Io, "the request cannot be written", error.to_string()))
}
