//! Packets as they arrive.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::response::sse::{Event as SseEvent, Sse};
use futures_util::stream::{self, Stream};
use ipnet::IpNet;
use portcullis_policy::api::PacketRecord;
use portcullis_policy::shield::parse_prefix;
use portcullis_policy::shield::rules::{Ports, Protocol};
use portcullis_web::{Options, Refusal};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use utoipa::IntoParams;

use super::super::{MAX_STREAMS, Shared, openapi};
use crate::shield::Look;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct MonitorQuery {
    /// One of so many packets, counted by each processor; 1: all, as far as a thousand a second go.
    #[serde(default = "one")]
    #[param(value_type = Option<u32>)]
    every: NonZeroU32,
    /// Only at this interface, or of this container.
    place: Option<String>,
    /// Only from this prefix.
    source: Option<String>,
    /// Only to this prefix.
    destination: Option<String>,
    /// Only of this IP protocol.
    #[param(value_type = Option<String>)]
    protocol: Option<Protocol>,
    /// Only from or to a port of this range.
    #[param(value_type = Option<String>)]
    port: Option<Ports>,
}

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

struct Filter {
    place: Option<String>,
    source: Option<IpNet>,
    destination: Option<IpNet>,
    protocol: Option<Protocol>,
    port: Option<Ports>,
}

impl Filter {
    fn passes(&self, packet: &PacketRecord) -> bool {
        let within = |net: Option<IpNet>, address: Option<std::net::IpAddr>| {
            net.is_none_or(|net| address.is_some_and(|address| net.contains(&address)))
        };
        let of = |ports: Ports, port: Option<u16>| {
            port.is_some_and(|port| (ports.first()..=ports.last()).contains(&port))
        };
        let place = [&packet.container, &packet.interface];
        self.place.as_ref().is_none_or(|wanted| place.into_iter().flatten().any(|name| name == wanted))
            && within(self.source, packet.source)
            && within(self.destination, packet.destination)
            && self.protocol.is_none_or(|wanted| packet.protocol == Some(wanted))
            && self
                .port
                .is_none_or(|wanted| of(wanted, packet.source_port) || of(wanted, packet.destination_port))
    }
}

/// Packets as they arrive where the shield stands, sampled: `event: packet`, and `event: lost` with `{"lost":N}` where this
/// reader was too slow.
#[utoipa::path(get, path = "/api/v1/monitor", operation_id = "streamPackets", tag = "shield", params(MonitorQuery),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream", body = PacketRecord),
        (status = 404, response = openapi::NotFound),
        (status = 503, response = openapi::Unavailable)))]
pub(in super::super) async fn monitor(
    app: Shared,
    query: Options<MonitorQuery>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Refusal> {
    let MonitorQuery { every, place, source, destination, protocol, port } = query.0;
    let net = |text: Option<String>| {
        let read = |text: String| parse_prefix(&text).map(|written| written.net);
        text.map(read).transpose().map_err(|error| Refusal::invalid(error.to_string()))
    };
    let filter = Filter { place, source: net(source)?, destination: net(destination)?, protocol, port };
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Refusal::unavailable(format!("{MAX_STREAMS} event streams are open already; close one and try again"))
    })?;
    let shield = app
        .control
        .shield()
        .ok_or_else(|| Refusal::unavailable("the shield is out of reach: the agent's log says why"))?;
    let packets = shield.packets();
    let look = tokio::task::spawn_blocking(move || Look::begin(&shield, every)).await;
    let look = look.map_err(|error| Refusal::failed(format!("the shield broke off: {error}")))??;
    let follower = Follower { filter, packets, _look: look, _permit: permit };
    let packets = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(packets).keep_alive(portcullis_web::keep_alive()))
}

struct Follower {
    filter: Filter,
    packets: broadcast::Receiver<Arc<PacketRecord>>,
    _look: Look,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            match self.packets.recv().await {
                Ok(packet) if self.filter.passes(&packet) => {
                    return Some(portcullis_web::message("packet", &*packet));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => return Some(portcullis_web::lost(lost)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
