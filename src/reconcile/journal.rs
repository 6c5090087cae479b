//! The journal by itself, by the word of `daybook verify`: sealed entries as they were sealed, against the heads that this machine
//! published, too; and what the journal's guards demand, once more.

use super::Reconciliation;
use super::findings::{Finding, FoundBy, Kind, resolve};
use crate::error::Result;
use crate::verify::{self, heads::Heads};

impl Reconciliation {
    pub(super) async fn look_at_journal(&mut self) -> Result<()> {
        let published = match &self.databases.heads.file {
            Some(path) if path.exists() => Some(Heads::read(path)?),
            _ => None,
        };
        let report = verify::verify(&self.scans, &self.worker.book, published.as_ref()).await?;
        self.beat().await?;
        // The status of bills is looked at with their tables.
        let wrong = report.findings.into_iter().filter(|finding| finding.kind != verify::Kind::Status);
        let finding = |of: verify::Finding| {
            let kind = if of.kind == verify::Kind::Unbalanced { Kind::Unbalanced } else { Kind::Tampered };
            let about = match (of.entry_id, of.entry_number) {
                (Some(id), _) => format!("journal {} entry {id}", of.kind.as_str()),
                (None, Some(number)) => format!("journal {} number {number}", of.kind.as_str()),
                (None, None) => format!("journal {} {}", of.kind.as_str(), of.message),
            };
            let message = match of.entry_id {
                Some(id) => format!("entry {id}: {}", of.message),
                None => of.message,
            };
            Finding { entry_id: of.entry_id, ..Finding::new(kind, FoundBy::Journal, &about, message) }
        };
        self.keep(wrong.map(finding).collect()).await?;
        resolve(&self.worker.source, self.run, FoundBy::Journal, &[], true).await?;
        Ok(())
    }
}
