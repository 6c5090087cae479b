//! Publishing the head of a chain: whoever rules the database could rewrite the chain from some entry on, with every hash. What was
//! published before, where they do not rule, then disagrees. `daybook verify --against FILE` compares.
//!
//! A head goes to the log, to a file (one JSON object a line) and to a webhook (POST of the same object). Where that fails it is
//! logged and tried again; nothing else waits for it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::encoding::hex;
use crate::database::Session;
use crate::error::{Doing, Result};
use crate::sql;

/// Heads are published so often at most, and at the orderly end of a process.
const PUBLICATION_INTERVAL: Duration = Duration::from_secs(60);

/// A webhook has so long to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The end of a book's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub book: String,
    /// Number of the last block, from 1.
    pub block: i64,
    /// Number of its last entry, from 1.
    pub entry_number: i64,
    /// The block's SHA-256, in hexadecimal.
    pub hash: String,
    pub sealed_at: DateTime<Utc>,
}

/// Where heads go beside the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    pub file: Option<PathBuf>,
    pub webhook: Option<String>,
}

/// Publishes the head of one book where it has moved.
#[derive(Debug)]
pub struct Publisher {
    places: Places,
    last: Option<Instant>,
    logged: Option<Head>,
    filed: Option<Head>,
    posted: Option<Head>,
}

impl Publisher {
    pub fn new(places: Places) -> Publisher {
        Publisher { places, last: None, logged: None, filed: None, posted: None }
    }

    /// Publishes where it is due.
    pub async fn publish_if_due(&mut self, ledger: &Session, book: &str) -> Result<()> {
        match self.last.is_some_and(|last| last.elapsed() < PUBLICATION_INTERVAL) {
            true => Ok(()),
            false => self.publish(ledger, book).await,
        }
    }

    /// Publishes now. Fails only where the head cannot be read.
    pub async fn publish(&mut self, ledger: &Session, book: &str) -> Result<()> {
        let Some(head) = head(ledger, book).await? else { return Ok(()) };
        self.last = Some(Instant::now());
        if self.logged.as_ref() != Some(&head) {
            let Head { book, block, entry_number, hash, sealed_at } = &head;
            tracing::info!(%book, block, entry_number, %hash, %sealed_at, "sealed");
            self.logged = Some(head.clone());
        }
        if let Some(file) = self.places.file.clone().filter(|_| self.filed.as_ref() != Some(&head)) {
            let told = head.clone();
            let place = file.display().to_string();
            match tokio::task::spawn_blocking(move || append(&file, &told)).await {
                Ok(Ok(())) => self.filed = Some(head.clone()),
                Ok(Err(error)) => {
                    tracing::warn!("the chain's head cannot be written to {place}: {error}; it is tried again")
                }
                Err(error) => tracing::warn!("the chain's head cannot be written: {error}"),
            }
        }
        if let Some(webhook) = self.places.webhook.clone().filter(|_| self.posted.as_ref() != Some(&head)) {
            let told = head.clone();
            match tokio::task::spawn_blocking(move || post(&webhook, &told)).await {
                Ok(Ok(())) => self.posted = Some(head),
                // The address may hold a secret.
                Ok(Err(error)) => {
                    tracing::warn!("the chain's head cannot be sent to the webhook: {error}; it is tried again")
                }
                Err(error) => tracing::warn!("the chain's head cannot be sent: {error}"),
            }
        }
        Ok(())
    }
}

/// The end of a book's chain; `None` while nothing is sealed.
pub async fn head(ledger: &Session, book: &str) -> Result<Option<Head>> {
    let row = ledger.query_opt(sql::LAST_BLOCK, &[&book]).await.doing("reading the end of the chain")?;
    Ok(row.map(|row| Head {
        book: book.into(),
        block: row.get(0),
        entry_number: row.get(1),
        hash: hex(row.get(2)),
        sealed_at: row.get(4),
    }))
}

/// Appends a head to a file, durably, unless it stands there last.
fn append(path: &Path, head: &Head) -> std::io::Result<()> {
    let line = serde_json::to_string(head)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let last = last_line(&mut file)?;
    if last.strip_suffix('\n') == Some(&line) {
        return Ok(());
    }
    // A line that a crash has cut stays alone.
    let begin = if last.is_empty() || last.ends_with('\n') { "" } else { "\n" };
    file.write_all(format!("{begin}{line}\n").as_bytes())?;
    file.sync_all()
}

/// The last line of a file, with its end if it has one.
fn last_line(file: &mut File) -> std::io::Result<String> {
    const LINE_BYTES_MAX: u64 = 4_096;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    Ok(tail.split_inclusive('\n').next_back().unwrap_or_default().to_string())
}

/// Sends a head; an answer of 2xx means that it was taken.
fn post(webhook: &str, head: &Head) -> Result<(), String> {
    let mut config = ureq::Agent::config_builder().timeout_global(Some(WEBHOOK_TIMEOUT)).max_redirects(0);
    if webhook.starts_with("https:") {
        let found = rustls_native_certs::load_native_certs().certs;
        let trusted = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(trusted)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        config = config.tls_config(tls.build());
    }
    let agent: ureq::Agent = config.build().into();
    let body = serde_json::to_string(head).map_err(|error| error.to_string())?;
    let answer = agent.post(webhook).header("Content-Type", "application/json").send(body);
    let status = answer.map_err(|error| error.to_string().replace(webhook, "its address"))?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!("it answered {}", status.as_u16())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(block: i64) -> Head {
        Head {
            book: "main".into(),
            block,
            entry_number: 10 * block,
            hash: "ab".into(),
            sealed_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn heads_are_appended_once_each_and_a_torn_line_spoils_no_other() {
        let path = std::env::temp_dir().join(format!("daybook-heads-{}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        append(&path, &head(1)).expect("appends");
        append(&path, &head(1)).expect("appends");
        let mut file = OpenOptions::new().append(true).open(&path).expect("opens");
        file.write_all(b"{\"book\":\"ma").expect("tears");
        append(&path, &head(2)).expect("appends");
        let text = std::fs::read_to_string(&path).expect("reads");
        let _ = std::fs::remove_file(&path);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(serde_json::from_str::<Head>(lines[0]).ok(), Some(head(1)));
        assert_eq!(serde_json::from_str::<Head>(lines[2]).ok(), Some(head(2)));
    }
}
