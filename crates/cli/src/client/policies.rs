//! Gate policies.

use hyper::{Method, StatusCode};
use portcullis_policy::api::PolicyView;
use portcullis_policy::guard::GatePolicy;

use super::{Client, ClientError, NOTHING, encode, parse};

impl Client {
    /// All policies, the first to be asked first.
    pub fn policies(&self) -> Result<Vec<PolicyView>, ClientError> {
        self.get("/api/v1/policies")
    }

    /// One policy.
    pub fn policy(&self, name: &str) -> Result<PolicyView, ClientError> {
        self.get(&path(name))
    }

    /// Puts a policy; also answers whether it is new.
    pub fn put_policy(&self, policy: &GatePolicy) -> Result<(PolicyView, bool), ClientError> {
        let (status, body) = self.send(Method::PUT, &path(&policy.name), Some(policy))?;
        Ok((parse(&body)?, status == StatusCode::CREATED))
    }

    /// Takes a policy away; answers what it was.
    pub fn remove_policy(&self, name: &str) -> Result<PolicyView, ClientError> {
        parse(&self.send(Method::DELETE, &path(name), NOTHING)?.1)
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/policies/{}", encode(name))
}
