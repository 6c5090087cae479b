//! The status of a table's bills beside the journal: each names its live entries, and there are no others.

use super::findings::{Finding, FoundBy, Kind, resolve};
use super::ledger_scan::LedgerSums;
use super::{FINDINGS_MAX, Reconciliation, Table};
use crate::database::Parameters;
use crate::error::{Doing, Result};
use crate::ledger::Scope;
use crate::sql::reconcile as sql;

impl Reconciliation {
    /// Only where the sums disagree the bills are looked for. The status of such a bill is taken from the journal again, and the bill
    /// enqueued: what was added is reversed, what was deleted is posted anew.
    pub(super) async fn look_at_status(&mut self, table: &mut Table, ledger: &LedgerSums) -> Result<()> {
        self.beat().await?;
        let mut is_all_of_it = true;
        if !ledger.status_agrees {
            let most = FINDINGS_MAX as i64;
            let Scope { book, source, reference_type } = self.scope(table);
            let parameters: Parameters<'_> = &[&book, &source, &reference_type, &most];
            let rows = self.scans.query(sql::STATUS_DIFFERENCES, parameters).await;
            let rows = rows.doing("looking for bills whose status differs from the journal")?;
            is_all_of_it = (rows.len() as i64) < most;
            let mut findings = Vec::new();
            let (mut bills, mut restored): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
            for row in &rows {
                let id: String = row.get("reference_id");
                let kind = if row.get::<_, i64>("bases") > 1 { Kind::Duplicate } else { Kind::Tampered };
                let why = match (kind, row.get("lives_differ")) {
                    (Kind::Duplicate, _) => "two of its entries are live at once",
                    (_, true) => {
                        "its status and the journal name different live entries: one of them was changed by hand"
                    }
                    (_, false) => {
                        "the journal lacks entries of it, or its status counts wrongly: one of them was changed by hand"
                    }
                };
                let message = format!("{} {id}: {why}", table.reference_type);
                let subject = format!("status {} {id}", table.reference_type);
                findings.push(Finding {
                    reference_id: Some(id.clone()),
                    entry_id: row.get("entry_id"),
                    ..Finding::of_table(kind, FoundBy::Status, &table.reference_type, &subject, message)
                });
                if row.get("to_be_restored") {
                    restored.push(id.clone());
                }
                bills.push(id);
            }
            table.findings += findings.len() as u64;
            self.keep(findings).await?;
            if self.options.repair && !restored.is_empty() {
                let ids: Vec<&str> = restored.iter().map(String::as_str).collect();
                for ids in ids.chunks(super::BILLS_MAX) {
                    let mut ids = ids.to_vec();
                    ids.sort_unstable();
                    self.worker.restore_status(&table.reference_type, &ids).await?;
                }
                self.repair(table, &restored).await?;
            }
        }
        if is_all_of_it {
            let tables = [table.reference_type.clone()];
            resolve(&self.worker.source, self.run, FoundBy::Status, &tables, false).await?;
        }
        Ok(())
    }
}
