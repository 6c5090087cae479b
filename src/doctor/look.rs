//! Reading the facts. What may not be read, or is not there, becomes a finding and not a failure.

use std::time::{Duration, Instant};

use crate::address::Address;
use serde::de::DeserializeOwned;
use tokio_postgres::{Client, Row};

use super::facts::{Backends, Clock};
use super::finding::{Finding, Place, Report};
use crate::database::{Parameters, Side, connect, connect_plainly, quote_identifier};
use crate::error::{Doing, Error, Result, explain};

/// What a session of doctor sets: it only looks, sees a table of the application only by its catalog, and waits for nobody.
const SESSION: &str = "SET default_transaction_read_only = on; SET TimeZone = 'UTC'; \
    SET DateStyle = 'ISO, YMD'; SET row_security = off; SET lock_timeout = '5s'; SET statement_timeout = '60s'; \
    SET client_min_messages = warning";

/// How long a session may be kept waiting by a pooler.
const POOLER_WAIT_MAX: Duration = Duration::from_secs(3);

/// A side, looked at with the login role's own rights.
pub struct Look {
    pub side: Side,
    pub client: Client,
    user: String,
    is_superuser: bool,
}

impl Look {
    pub async fn connect(side: Side, config: &Address) -> Result<Look> {
        let client = connect_plainly(side, config).await?;
        let who = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user";
        let who = client.query_one(who, &[]).await.doing("asking for the role")?;
        Ok(Look { side, client, user: who.get(0), is_superuser: who.get(1) })
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// From here on the session only reads. Before, settings are as any new session finds them.
    pub async fn settle(&self) -> Result<()> {
        self.client.batch_execute(SESSION).await.doing("setting up the session")
    }

    /// The one JSON value that a statement gives; `None`, and a finding, where rights or objects are missing.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        report: &mut Report,
        what: &str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Option<T>> {
        self.told(report, what, self.client.query_one(sql, parameters).await)
    }

    /// The same, of an answer that is here.
    pub fn told<T: DeserializeOwned>(
        &self,
        report: &mut Report,
        what: &str,
        answer: Result<Row, tokio_postgres::Error>,
    ) -> Result<Option<T>> {
        let value: serde_json::Value = match answer {
            Ok(row) => row.get(0),
            Err(error) => {
                let Some(finding) = self.unreadable(what, &error) else {
                    return Err(Error::Database { doing: "looking", source: error });
                };
                if !report.findings.contains(&finding) {
                    report.findings.push(finding);
                }
                return Ok(None);
            }
        };
        let facts = serde_json::from_value(value);
        facts.map(Some).map_err(|error| Error::Unexpected(format!("reading {what}: {error}")))
    }

    /// What a statement that was refused tells; `None` where the server itself failed.
    pub fn unreadable(&self, what: &str, error: &tokio_postgres::Error) -> Option<Finding> {
        let place = match self.side {
            Side::Source => Place::Source,
            Side::Ledger => Place::Ledger,
        };
        let state = error.code()?.code();
        let told = explain(error);
        let side = self.side.name();
        match state {
            // Nothing is refused to a superuser: it is a function of ours that lacks the right.
            "42501" if self.is_superuser => {
                let problem = format!("daybook_owner itself lacks a right ({told}): {what} was not checked");
                Some(
                    Finding::error("incomplete", side, problem)
                        .fix(Place::Shell, "# mend what is told of owners and rights, and look again"),
                )
            }
            "42501" => {
                let problem = format!("may not look at {what} of the {side} side ({told}): it was not checked");
                let fix = format!("GRANT daybook_reader TO {};", quote_identifier(&self.user));
                Some(Finding::error("right_to_look", &self.user, problem).fix(place, fix))
            }
            // A function is made again by installing, a table is not.
            "42883" => {
                let problem = format!("{told}: {what} was not checked");
                Some(Finding::error("incomplete", side, problem).fix(Place::Shell, "daybook install"))
            }
            "42P01" | "42703" | "42704" | "3F000" => {
                let problem = format!(
                    "{told}: {what} was not checked. Somebody dropped a part of daybook, which installing does not bring back"
                );
                let fix = format!("# restore the schema of the {side} side from a backup, then daybook rejoin");
                Some(Finding::error("incomplete", side, problem).fix(Place::Shell, fix))
            }
            "57014" | "55P03" => {
                let problem = format!("{what} could not be looked at in time ({told}): it was not checked");
                Some(
                    Finding::warning("incomplete", side, problem)
                        .fix(Place::Shell, "daybook doctor # at a quieter moment"),
                )
            }
            _ => None,
        }
    }

    /// The clock, by the quickest of a few questions.
    pub async fn clock(&self) -> Result<Clock> {
        let statement = self.client.prepare("SELECT clock_timestamp()").await.doing("asking for the time")?;
        let mut best: Option<Clock> = None;
        for _ in 0..3 {
            let (asked_at, asked) = (chrono::Utc::now(), Instant::now());
            let row = self.client.query_one(&statement, &[]).await.doing("asking for the time")?;
            let half = asked.elapsed() / 2;
            let told: chrono::DateTime<chrono::Utc> = row.get(0);
            let middle = asked_at + chrono::Duration::from_std(half).unwrap_or_default();
            let doubt_ms = i64::try_from(half.as_millis()).unwrap_or(i64::MAX);
            if best.is_none_or(|best| doubt_ms < best.doubt_ms) {
                best = Some(Clock { ahead_ms: (told - middle).num_milliseconds(), doubt_ms });
            }
        }
        Ok(best.unwrap_or_default())
    }

    /// Which backends serve this session and another one. A session that is alive keeps its own, unless a pooler lends it out.
    pub async fn backends(&self, config: &Address) -> Result<Backends> {
        let pid = async |client: &Client| -> Result<i32> {
            Ok(client.query_one("SELECT pg_backend_pid()", &[]).await.doing("asking for the backend")?.get(0))
        };
        let first = pid(&self.client).await?;
        let other = connect(self.side, config).await?;
        other.batch_execute("BEGIN").await.doing("asking for the backend")?;
        let second = pid(&other).await?;
        // Not to wait for a pooler that lends out its only connection.
        let first_again = match first == second {
            true => None,
            false => match tokio::time::timeout(POOLER_WAIT_MAX, pid(&self.client)).await {
                Ok(pid) => Some(pid?),
                Err(_) => None,
            },
        };
        other.batch_execute("ROLLBACK").await.doing("asking for the backend")?;
        Ok(Backends { first, second, first_again })
    }
}
