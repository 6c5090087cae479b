//! `daybook status`: what an operator asks first, from both sides.

use crate::address::Address;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::database::{Side, connect_plainly};
use crate::error::{Error, Result, explain, is_undefined};

/// A captured table and its queue.
#[derive(Debug, Serialize)]
pub struct TableStatus {
    pub reference_type: String,
    pub relation: String,
    pub capture: String,
    pub queued: i64,
    pub oldest_seconds: Option<i64>,
    pub parked: i64,
    /// Bills whose rows are gone and whose entries stay.
    pub retained: i64,
    /// Bills from before this day are out of scope.
    pub go_live: Option<chrono::NaiveDate>,
}

/// An alert that is not resolved.
#[derive(Debug, Serialize)]
pub struct AlertStatus {
    pub alert_type: String,
    pub cause: String,
    pub severity: String,
    pub state: String,
    pub message: String,
    pub opened_at: chrono::DateTime<chrono::Utc>,
}

/// What [`status`] found.
#[derive(Debug, Serialize)]
pub struct Status {
    pub source: String,
    pub book: String,
    pub consumers_alive: i64,
    pub entries: i64,
    /// Debit minus credit over everything posted, as text: zero.
    pub balance: String,
    pub tables: Vec<TableStatus>,
    pub alerts: Vec<AlertStatus>,
}

/// Looks at both sides with the login role's own rights; it needs to be a member of `daybook_reader`.
pub async fn status(source: &Address, ledger: &Address) -> Result<Status> {
    let source = connect_plainly(Side::Source, source).await?;
    let ledger = connect_plainly(Side::Ledger, ledger).await?;
    let on = |side: Side| {
        move |error: tokio_postgres::Error| match is_undefined(&error) {
            true => Error::NotInstalled(format!(
                "daybook is not installed in the {} database: run `daybook install`",
                side.name()
            )),
            false => Error::Unreachable(format!(
                "cannot look at the {} database: {}. It takes the role daybook_reader",
                side.name(),
                explain(&error)
            )),
        }
    };
    let settings = source.query_one(include_str!("../sql/status/source.sql"), &[]).await.map_err(on(Side::Source))?;
    let tables = source.query(include_str!("../sql/status/tables.sql"), &[]).await.map_err(on(Side::Source))?;
    let alerts = source.query(include_str!("../sql/status/alerts.sql"), &[]).await.map_err(on(Side::Source))?;
    let book: String = settings.get("book");
    let journal =
        ledger.query_one(include_str!("../sql/status/journal.sql"), &[&book]).await.map_err(on(Side::Ledger))?;
    let source_name: String = settings.get("source");
    let retained = include_str!("../sql/status/retained.sql");
    let retained = ledger.query(retained, &[&book, &source_name]).await.map_err(on(Side::Ledger))?;
    let retained_of = |reference_type: &str| {
        retained.iter().find(|row| row.get::<_, &str>(0) == reference_type).map_or(0, |row| row.get(1))
    };
    Ok(Status {
        source: source_name,
        book,
        consumers_alive: settings.get("consumers_alive"),
        entries: journal.get("entries"),
        balance: journal.get("balance"),
        tables: tables
            .iter()
            .map(|row| TableStatus {
                reference_type: row.get("reference_type"),
                relation: row.get("relation"),
                capture: row.get("capture"),
                queued: row.get("queued"),
                oldest_seconds: row.get("oldest_seconds"),
                parked: row.get("parked"),
                retained: retained_of(row.get("reference_type")),
                go_live: row.get("go_live"),
            })
            .collect(),
        alerts: alerts
            .iter()
            .map(|row| AlertStatus {
                alert_type: row.get("alert_type"),
                cause: row.get("cause"),
                severity: row.get("severity"),
                state: row.get("state"),
                message: row.get("message"),
                opened_at: row.get("opened_at"),
            })
            .collect(),
    })
}

impl Status {
    /// Whether a person should look: an alert is open, or bills are parked.
    pub fn needs_attention(&self) -> bool {
        !self.alerts.is_empty() || self.tables.iter().any(|table| table.parked > 0)
    }

    /// The same for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "source {}, book {}: {} consumers alive, {} entries posted, debits minus credits {}\n",
            self.source, self.book, self.consumers_alive, self.entries, self.balance
        );
        let mut tables = Table::new();
        tables.load_style(presets::ASCII_MARKDOWN);
        tables.set_header([
            "reference type",
            "table",
            "capture",
            "queued",
            "oldest (s)",
            "parked",
            "retained",
            "go-live",
        ]);
        for table in &self.tables {
            let oldest = table.oldest_seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
            tables.add_row([
                table.reference_type.clone(),
                table.relation.clone(),
                table.capture.clone(),
                table.queued.to_string(),
                oldest,
                table.parked.to_string(),
                table.retained.to_string(),
                table.go_live.map(|day| day.to_string()).unwrap_or_default(),
            ]);
        }
        text.push_str(&tables.to_string());
        for alert in &self.alerts {
            let AlertStatus { severity, alert_type, cause, state, message, .. } = alert;
            text.push_str(&format!("\n{severity} {alert_type} {cause} ({state}): {message}"));
        }
        text
    }
}
