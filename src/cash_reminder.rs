//! The reminder that a site's cash was not closed by its time: raised and resolved beside the other alerts of the source, by what the
//! ledger says.

use std::time::{Duration, Instant};

use crate::database::Session;
use crate::error::{Doing, Result};
use crate::settings::Settings;
use crate::sql;

/// How often the ledger is asked.
const PAUSE: Duration = Duration::from_secs(60);

/// So many days are named.
const DAYS_NAMED: usize = 5;

/// When the ledger was asked last.
#[derive(Debug, Default)]
pub struct CashReminder {
    asked: Option<Instant>,
}

impl CashReminder {
    pub async fn remind(&mut self, source: &Session, ledger: &Session, settings: &Settings) -> Result<()> {
        if self.asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        let Settings { book, source_name, .. } = settings;
        let time = source.query_one(sql::CASH_CLOSURE_TIME, &[]).await.doing("reading cash_closure_time")?;
        let time: String = time.get(0);
        let rows = ledger.query(sql::UNCLOSED_CASH, &[book, source_name, &time]).await;
        let rows = rows.doing("looking for days of cash that are not closed")?;
        let (sites, messages): (Vec<String>, Vec<String>) =
            rows.iter().map(|row| (row.get(0), message(row.get(0), &time, &row.get::<_, Vec<String>>(1)))).unzip();
        source.execute(sql::TELL_UNCLOSED_CASH, &[&sites, &messages]).await.doing("telling of days of cash")?;
        self.asked = Some(Instant::now());
        Ok(())
    }
}

fn message(site: &str, time: &str, days: &[String]) -> String {
    let more = if days.len() > DAYS_NAMED { format!(" and {} more", days.len() - DAYS_NAMED) } else { String::new() };
    let named = days.iter().take(DAYS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!(
        "the cash of site {site} was not closed by {time} on {named}{more}: count it and close it, `daybook closure count` and \
         `daybook closure close`; a day that nobody opened, `daybook closure open` first"
    )
}
