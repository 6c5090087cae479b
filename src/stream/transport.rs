//! The way to the walsender, behind a trait: messages in, and how far they are durable, out. The protocol itself is pgwire-replication's:
//! it answers keepalives and reports progress on a timer of its own, however long we take.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;

use super::pgoutput::{Lsn, Malformed, Message, decode};
use super::tunnel::Tunnel;
use crate::address::Address;
use crate::error::{Error, Result};

/// The walsender's name at the server.
pub const APPLICATION_NAME: &str = "daybook stream";

/// How often progress is reported, at least.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);

/// While we wait, messages are read ahead: many small ones or a few with large rows. The rest waits at the server. Each counts a little more
/// than its bytes; one that is larger than all of it comes alone.
const BYTES_AHEAD_MAX: u32 = 16 << 20;
const BYTES_OF_A_MESSAGE: usize = 128;

/// So many messages the library itself holds, however large they are.
const MESSAGES_AHEAD_MAX: usize = 32;

/// How the walsender writes values as text, whatever the role's settings are: as [`crate::key::of_wire`] reads them.
const OPTIONS: &str = "-c datestyle=ISO,YMD -c timezone=UTC -c search_path=pg_catalog";

/// What came.
#[derive(Debug, Clone)]
pub enum Received {
    /// A message of pgoutput, to be decoded.
    Change(Bytes),
    Begin {
        final_lsn: Lsn,
        xid: u32,
        committed_at: i64,
    },
    Commit {
        commit_lsn: Lsn,
        end_lsn: Lsn,
        committed_at: i64,
    },
    /// Nothing, up to there.
    Nothing {
        until: Lsn,
    },
    /// What somebody wrote by `pg_logical_emit_message`.
    Word {
        prefix: String,
    },
}

impl Received {
    /// The message, where there is one.
    pub fn message(&self) -> Result<Option<Message<'_>>, Malformed> {
        Ok(Some(match self {
            Received::Change(bytes) => return decode(bytes).map(Some),
            Received::Begin { final_lsn, xid, committed_at } => {
                Message::Begin { final_lsn: *final_lsn, committed_at: *committed_at, xid: *xid }
            }
            Received::Commit { commit_lsn, end_lsn, committed_at } => {
                Message::Commit { commit_lsn: *commit_lsn, end_lsn: *end_lsn, committed_at: *committed_at }
            }
            Received::Nothing { .. } | Received::Word { .. } => return Ok(None),
        }))
    }
}

/// A stream of changes.
pub trait Changes {
    /// The next one; cancelling loses nothing.
    fn next(&mut self) -> impl Future<Output = Result<Received>> + Send;

    /// Tells the server up to where everything is durable: it need not be sent again.
    fn confirm(&mut self, lsn: Lsn);
}

/// What was read ahead, with its share of what may be.
type Ahead = (Result<Received>, Option<OwnedSemaphorePermit>);

/// A walsender.
pub struct Walsender {
    received: mpsc::UnboundedReceiver<Ahead>,
    confirmed: watch::Sender<Lsn>,
    reader: JoinHandle<()>,
    /// Encrypts; ends with it.
    _tunnel: Option<Tunnel>,
}

impl Drop for Walsender {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads ahead, in bounded memory, and tells the server what is durable meanwhile.
async fn read_ahead(
    mut client: ReplicationClient,
    ahead: mpsc::UnboundedSender<Ahead>,
    mut durable: watch::Receiver<Lsn>,
) {
    let budget = Arc::new(Semaphore::new(BYTES_AHEAD_MAX as usize));
    loop {
        let event = tokio::select! {
            event = client.recv() => event,
            changed = durable.changed() => match changed {
                Ok(()) => {
                    client.update_applied_lsn((*durable.borrow_and_update()).into());
                    continue;
                }
                Err(_) => return, // nobody listens any more
            },
        };
        let (received, is_last) = match event {
            Ok(event) => match of_event(event) {
                Some(received) => (Ok(received), false),
                None => (Err(unreachable("the source", "the server ended the stream")), true),
            },
            Err(error) => (Err(of_wire("the source", &error)), true),
        };
        let bytes = match &received {
            Ok(Received::Change(bytes)) => bytes.len(),
            _ => 0,
        };
        let share = u32::try_from(bytes + BYTES_OF_A_MESSAGE).unwrap_or(u32::MAX).min(BYTES_AHEAD_MAX);
        let permit = loop {
            tokio::select! {
                permit = budget.clone().acquire_many_owned(share) => break permit.ok(),
                changed = durable.changed() => match changed {
                    Ok(()) => client.update_applied_lsn((*durable.borrow_and_update()).into()),
                    Err(_) => return,
                },
            }
        };
        if ahead.send((received, permit)).is_err() || is_last {
            return;
        }
    }
}

/// `None` where the stream has ended.
fn of_event(event: Option<ReplicationEvent>) -> Option<Received> {
    Some(match event? {
        ReplicationEvent::XLogData { data, .. } => Received::Change(data),
        ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
            Received::Begin { final_lsn: final_lsn.into(), xid, committed_at: commit_time_micros }
        }
        ReplicationEvent::Commit { lsn, end_lsn, commit_time_micros } => {
            Received::Commit { commit_lsn: lsn.into(), end_lsn: end_lsn.into(), committed_at: commit_time_micros }
        }
        ReplicationEvent::KeepAlive { wal_end, .. } => Received::Nothing { until: wal_end.into() },
        ReplicationEvent::Message { prefix, .. } => Received::Word { prefix },
        ReplicationEvent::StoppedAt { .. } => return None,
    })
}

impl Walsender {
    /// Streams from the slot, from the position on. Fails where another process streams from it.
    pub async fn start(address: &Address, slot: &str, publications: [&str; 2], from: Lsn) -> Result<Walsender> {
        let mut refused = Error::Usage("the source URL names no host".into());
        for (at, host) in address.get_hosts().iter().enumerate() {
            let port = address.get_ports().get(at).or(address.get_ports().first()).copied().unwrap_or(5432);
            let (host, port, tunnel) = match host {
                Host::Unix(path) => (path.display().to_string(), port, None),
                Host::Tcp(name) => match Tunnel::where_wanted(address, name, port).await {
                    Ok(Some(tunnel)) => (tunnel.directory(), Tunnel::PORT, Some(tunnel)),
                    Ok(None) => (name.clone(), port, None),
                    Err(error) => {
                        refused = unreachable(name, &error.to_string());
                        continue;
                    }
                },
            };
            let mut config = ReplicationConfig::new(
                host.as_str(),
                address.get_user().map_or_else(system_user, str::to_string),
                String::from_utf8_lossy(address.get_password().unwrap_or_default()),
                address.get_dbname().or(address.get_user()).unwrap_or("postgres"),
                slot,
                publications,
            );
            config.port = port;
            config.start_lsn = from.into();
            config.status_interval = FEEDBACK_INTERVAL;
            config.buffer_events = MESSAGES_AHEAD_MAX;
            config.options = Some(OPTIONS.into());
            config.application_name = Some(APPLICATION_NAME.into());
            match Self::primary(config).await {
                Ok(client) => {
                    let (ahead, received) = mpsc::unbounded_channel();
                    let (confirmed, durable) = watch::channel(from);
                    let reader = tokio::spawn(read_ahead(client, ahead, durable));
                    return Ok(Walsender { received, confirmed, reader, _tunnel: tunnel });
                }
                Err(error) => refused = of_wire(&host, &error),
            }
        }
        Err(refused)
    }

    /// One that streams; an error where the server is a standby.
    async fn primary(config: ReplicationConfig) -> Result<ReplicationClient, PgWireError> {
        let connecting = async {
            let mut client = ReplicationClient::connect_gated(config).await?;
            let rows = client.simple_query("SELECT pg_is_in_recovery()").await?;
            if rows.first().and_then(|row| row.first()?.as_deref()) == Some(b"t") {
                return Err(PgWireError::Internal("it is a standby".into()));
            }
            client.start().await?;
            client.wait_started().await?;
            Ok(client)
        };
        match tokio::time::timeout(Duration::from_secs(30), connecting).await {
            Ok(client) => client,
            Err(_) => Err(PgWireError::Internal("no answer within 30 s".into())),
        }
    }
}

impl Changes for Walsender {
    async fn next(&mut self) -> Result<Received> {
        match self.received.recv().await {
            Some((received, _share)) => received,
            None => Err(unreachable("the source", "its reader ended by itself")),
        }
    }

    fn confirm(&mut self, lsn: Lsn) {
        self.confirmed.send_replace(lsn);
    }
}

fn unreachable(host: &str, why: &str) -> Error {
    Error::Unreachable(format!("the stream of changes from {host}: {why}"))
}

fn of_wire(host: &str, error: &PgWireError) -> Error {
    unreachable(host, &error.to_string())
}

/// As libpq: the name of the operating system's user.
fn system_user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name).unwrap_or_default()
}

/// Why a tunnel could not be made.
pub(super) type Refused = io::Error;
