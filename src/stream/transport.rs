//! The way to the walsender, behind a trait: messages in, and how far they are durable, out. The protocol itself is pgwire-replication's:
//! it answers keepalives and reports progress on a timer of its own, however long we take.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent};
use tokio_postgres::config::Host;

use super::pgoutput::{Lsn, Malformed, Message, decode};
use super::tunnel::Tunnel;
use crate::address::Address;
use crate::error::{Error, Result};

/// How often progress is reported, at least.
const FEEDBACK_INTERVAL: Duration = Duration::from_secs(1);

/// So many messages are read ahead while we wait, each as large as its row; the rest waits at the server.
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

/// A walsender.
pub struct Walsender {
    client: ReplicationClient,
    /// Encrypts; ends with it.
    _tunnel: Option<Tunnel>,
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
            config.application_name = Some("daybook stream".into());
            match Self::primary(config).await {
                Ok(client) => return Ok(Walsender { client, _tunnel: tunnel }),
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
        let event = self.client.recv().await.map_err(|error| of_wire("the source", &error))?;
        Ok(match event {
            Some(ReplicationEvent::XLogData { data, .. }) => Received::Change(data),
            Some(ReplicationEvent::Begin { final_lsn, xid, commit_time_micros }) => {
                Received::Begin { final_lsn: final_lsn.into(), xid, committed_at: commit_time_micros }
            }
            Some(ReplicationEvent::Commit { lsn, end_lsn, commit_time_micros }) => {
                Received::Commit { commit_lsn: lsn.into(), end_lsn: end_lsn.into(), committed_at: commit_time_micros }
            }
            Some(ReplicationEvent::KeepAlive { wal_end, .. }) => Received::Nothing { until: wal_end.into() },
            Some(ReplicationEvent::Message { prefix, .. }) => Received::Word { prefix },
            Some(ReplicationEvent::StoppedAt { .. }) | None => {
                return Err(unreachable("the source", "the server ended the stream"));
            }
        })
    }

    fn confirm(&mut self, lsn: Lsn) {
        self.client.update_applied_lsn(lsn.into());
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
