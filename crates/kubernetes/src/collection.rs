//! Following a collection of the whole cluster, for the hub: what `crate::follow` does, with types that may leave
//! this crate.

use kube::Client;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};

use crate::follow::{News, Target, Timing};

/// What is followed.
#[derive(Clone, Debug)]
pub struct Collection {
    /// `/api/v1/nodes`.
    pub path: String,
    /// Metadata is enough.
    pub metadata_only: bool,
    /// `nodes`, for people.
    pub resource: &'static str,
    /// Which of the chart's roles allows it.
    pub role: &'static str,
    /// Objects that are read at a time.
    pub page: usize,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// This is all there is.
    All(Vec<T>),
    /// New, or changed.
    Put(T),
    /// Gone, as it was at last.
    Gone(T),
    /// After a failure: nothing was missed.
    Back,
    /// It failed, and is tried again: one sentence, and the status that the API server gave, if it did.
    Failing(String, Option<u16>),
}

/// Follows until nobody hears. `anew` asks for a list.
///
/// What is read is decoded into `T` one by one: a small type keeps the memory small.
pub async fn follow<T: DeserializeOwned + Send + 'static>(
    client: Client,
    collection: Collection,
    anew: &Notify,
    changes: mpsc::Sender<Change<T>>,
) {
    let Collection { path, metadata_only, resource, role, page } = collection;
    let target = Target { path, fields: None, metadata_only, resource, role };
    let timing = Timing { pages: Some(page), ..Timing::default() };
    let (sender, mut news) = mpsc::channel(1);
    let forwarding = async {
        while let Some(news) = news.recv().await {
            let change = match news {
                News::All(all) => Change::All(all),
                News::Put(object) => Change::Put(object),
                News::Gone(object) => Change::Gone(object),
                News::Back => Change::Back,
                News::Failing(trouble) => Change::Failing(trouble.why, trouble.status),
            };
            if changes.send(change).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = crate::follow::follow(client, target, timing, anew, sender) => {}
        () = forwarding => {}
    }
}
