//! Operating settings, from `daybook.sync_configuration`. The database keeps them within their bounds.

use std::time::Duration;

use crate::database::Session;
use crate::error::{Doing, Error, Result};

/// The settings that a consumer works by, and who its source is.
#[derive(Debug, Clone)]
pub struct Settings {
    pub source_name: String,
    pub book: String,
    pub retry_attempts_max: i32,
    pub retry_delay_seconds: f64,
    pub retry_backoff_multiplier: f64,
    pub queue_batch_size: i64,
    pub poll_interval_ms_max: u64,
    pub table_retry_seconds: f64,
    pub reversal_brake: i64,
    pub backfill_queue_max: i64,
    pub statement_timeout: Duration,
    pub reconciliation_frequency_hours: f64,
}

impl Settings {
    /// Until the setting is known.
    pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

    pub async fn load(source: &Session) -> Result<Settings> {
        let rows = source
            .query("SELECT config_key, config_value FROM daybook.sync_configuration", &[])
            .await
            .doing("reading daybook.sync_configuration")?;
        let text = |key: &str| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == key);
            row.map(|row| row.get::<_, String>(1)).ok_or_else(|| {
                Error::NotInstalled(format!(
                    "setting {key} is missing in daybook.sync_configuration: run `daybook install`"
                ))
            })
        };
        Ok(Settings {
            source_name: text("source_name")?,
            book: text("book")?,
            retry_attempts_max: number("max_retry_attempts", &text("max_retry_attempts")?)?,
            retry_delay_seconds: number("retry_delay_seconds", &text("retry_delay_seconds")?)?,
            retry_backoff_multiplier: number("retry_backoff_multiplier", &text("retry_backoff_multiplier")?)?,
            queue_batch_size: number("queue_batch_size", &text("queue_batch_size")?)?,
            poll_interval_ms_max: number("poll_interval_ms_max", &text("poll_interval_ms_max")?)?,
            table_retry_seconds: number("table_retry_seconds", &text("table_retry_seconds")?)?,
            reversal_brake: number("reversal_brake", &text("reversal_brake")?)?,
            backfill_queue_max: number("backfill_queue_max", &text("backfill_queue_max")?)?,
            statement_timeout: Duration::from_secs(number(
                "statement_timeout_seconds",
                &text("statement_timeout_seconds")?,
            )?),
            reconciliation_frequency_hours: number(
                "reconciliation_frequency_hours",
                &text("reconciliation_frequency_hours")?,
            )?,
        })
    }

    /// Seconds to wait before the retry that follows so many failed attempts (from 1), a day at most.
    pub fn retry_delay_seconds(&self, attempts: i32) -> f64 {
        let delay = self.retry_delay_seconds * self.retry_backoff_multiplier.powi(attempts - 1);
        delay.min(86_400.0)
    }
}

fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| Error::NotInstalled(format!("setting {key} in daybook.sync_configuration is not a number")))
}
