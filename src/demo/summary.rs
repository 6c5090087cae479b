//! What the demo came to: counts, trial balance, and whether the ledger equals the bills.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use tokio_postgres::Client;

use super::clinic::Written;
use crate::error::{Doing, Result};

pub struct Summary {
    counts: Vec<(String, i64)>,
    trial_balance: Vec<[String; 5]>,
    differences: Vec<String>,
    unfinished: i64,
    latency_ms: (f64, f64),
    events: i64,
}

/// Asks the database for everything; the comparison is SQL that shares nothing with the posting code.
pub async fn sum_up(client: &Client, unfinished: i64) -> Result<Summary> {
    client
        .batch_execute(include_str!("../../sql/demo/expected_balances.sql"))
        .await
        .doing("asking the bills what the ledger should hold")?;
    let differences =
        client.query(include_str!("../../sql/demo/differences.sql"), &[]).await.doing("comparing ledger and bills")?;
    // While it stands, the view would keep the application's own DDL from its columns.
    client.batch_execute("DROP VIEW expected_balances").await.doing("forgetting the question")?;
    let counts = client
        .query(
            "SELECT kind, count(*) FROM ledger.journal_entries GROUP BY kind
             UNION ALL SELECT 'parked', count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL
             UNION ALL SELECT 'healed', count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NOT NULL",
            &[],
        )
        .await
        .doing("counting entries")?;
    let trial_balance = client
        .query(
            "SELECT account_code, account_name, debit::text, credit::text, balance::text
             FROM ledger.trial_balance ORDER BY account_code",
            &[],
        )
        .await
        .doing("reading the trial balance")?;
    let latency = client.query_one(include_str!("../../sql/demo/latency.sql"), &[]).await.doing("reading latencies")?;
    let events = client.query_one("SELECT count(*) FROM daybook.sync_audit_log", &[]).await.doing("counting events")?;
    Ok(Summary {
        counts: counts.iter().map(|row| (row.get(0), row.get(1))).collect(),
        trial_balance: trial_balance.iter().map(|row| std::array::from_fn(|at| row.get(at))).collect(),
        differences: differences
            .iter()
            .map(|row| {
                let amount = |at| row.get::<_, Option<String>>(at).unwrap_or_else(|| "nothing".into());
                let (bill, id, account): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
                format!("{bill} {id}, account {account}: bills say {}, ledger says {}", amount(3), amount(4))
            })
            .collect(),
        unfinished,
        latency_ms: (latency.get(0), latency.get(1)),
        events: events.get(0),
    })
}

impl Summary {
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.unfinished == 0
    }

    pub fn to_text(&self, written: &Written, writing: Duration, total: Duration) -> String {
        let mut text = format!(
            "\nthe clinic wrote {} bills in {} transactions ({} rolled back) in {:.1} s\n",
            written.bills,
            written.transactions,
            written.rollbacks,
            writing.as_secs_f64()
        );
        text.push_str(&format!(
            "daybook finished {} events ({:.0}/s while the clinic wrote), all done after {:.1} s\n",
            self.events,
            self.events as f64 / total.as_secs_f64(),
            total.as_secs_f64()
        ));
        text.push_str(&format!(
            "from a change to its entry: median {:.0} ms, 99th percentile {:.0} ms\n",
            self.latency_ms.0, self.latency_ms.1
        ));
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        text.push_str(&format!("entries and bills: {}\n\n", counts.join(", ")));
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["account", "name", "debit", "credit", "balance"]);
        for row in &self.trial_balance {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text.push_str(&format!("{table}\n\n"));
        if self.unfinished > 0 {
            text.push_str(&format!("NOT DONE: {} events were not finished in time\n", self.unfinished));
        }
        if self.is_equal() {
            text.push_str("the ledger EQUALS the bills, to the cent and by account (independent SQL check)\n");
        } else {
            text.push_str(&format!("the ledger DIFFERS from the bills in {} places:\n", self.differences.len()));
            for difference in self.differences.iter().take(20) {
                text.push_str(&format!("  {difference}\n"));
            }
        }
        text
    }
}
