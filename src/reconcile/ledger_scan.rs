//! What the ledger is asked about all bills at once, on a session of its own, whose statements are planned for that.

use tokio_postgres::Row;

use super::buckets::{Bucket, Sums};
use super::clinic::{ClinicRule, of_bill};
use super::findings::{Finding, Kind};
use super::totals::cell;
use super::{Reconciliation, Table, WARNINGS_MAX};
use crate::database::Parameters;
use crate::error::{Doing, Result};
use crate::ledger::Scope;
use crate::sql::reconcile as sql;
use crate::synchronise::Worker;

/// A table's bills in the ledger.
pub(super) struct LedgerSums {
    /// What they were last judged from.
    pub sums: Sums,
    /// Whether their status and the journal name the same live entries.
    pub status_agrees: bool,
    /// Whether some of those in order are not proven by digests.
    pub has_odd_bills: bool,
}

impl Reconciliation {
    /// By so many buckets, a power of two.
    pub(super) async fn ledger_sums(&self, table: &Table, buckets: i64) -> Result<LedgerSums> {
        let Scope { book, source, reference_type } = self.scope(table);
        let rules = self.versions(table)?;
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &(buckets - 1), &rules];
        let rows = self
            .alive_until(self.scans.query(sql::LEDGER_SUMS, parameters))
            .await?
            .doing("adding up the bills of the ledger")?;
        let sum = |row: &Row, column: &str| row.get::<_, &str>(column).parse().unwrap_or_default();
        let mut sums = Sums::of(buckets);
        for row in &rows {
            let Some(bucket) = row.get::<_, Option<i64>>("bucket") else { continue }; // judged from no row
            *sums.bucket(bucket) =
                Bucket { rows: row.get("bills"), digests: sum(row, "digests"), amounts: sum(row, "amounts") };
        }
        let says = |column: &str| rows.first().is_some_and(|row| row.get(column));
        Ok(LedgerSums { sums, status_agrees: says("agree"), has_odd_bills: says("odd") })
    }

    /// The bills that are parked, resolved or retained: types and ids.
    pub(super) async fn not_current(&self, reference_types: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let parameters: Parameters<'_> = &[&self.worker.book, &self.worker.source_name, &reference_types];
        let rows = self.scans.query(sql::NOT_CURRENT_BILLS, parameters).await;
        Ok(rows.doing("reading which bills are parked")?.iter().map(|row| (row.get(0), row.get(1))).unzip())
    }

    /// What the journal says by site, day of the bill and account, into each table; and which bills it leaves out.
    pub(super) async fn total_the_journal(&self, tables: &mut [Table]) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let types: Vec<&str> = tables.iter().map(|table| table.reference_type.as_str()).collect();
        let (of, ids) = self.not_current(&types).await?;
        let parameters: Parameters<'_> = &[&self.worker.book, &self.worker.source_name, &types, &of, &ids];
        // Lines and their entries side by side in the order of ids, in which they are stored: of neither anything is kept in memory, however
        // many they are.
        let setting = async {
            self.scans.begin().await?;
            self.scans.batch_execute("SET LOCAL enable_hashjoin = off").await
        };
        setting.await.doing("setting up the session")?;
        let rows = self.alive_until(self.scans.query(sql::LEDGER_TOTALS, parameters)).await;
        self.scans.rollback().await.doing("ending to read")?;
        let rows = rows?.doing("totalling the journal")?;
        for table in tables {
            let is_of = |reference_type: &str| reference_type == table.reference_type;
            table.excluded = of.iter().zip(&ids).filter(|(of, _)| is_of(of)).map(|(_, id)| id.clone()).collect();
            let rows = rows.iter().filter(|row| is_of(row.get(0)));
            table.posted = rows.map(|row| (cell(row, 1), (row.get(4), row.get::<_, &str>(5).parse().ok()))).collect();
        }
        Ok(())
    }

    /// Bills of a table whose tax is not that of the rate.
    pub(super) async fn bills_with_warnings(&self, rule: &ClinicRule, reference_type: &str) -> Result<Vec<Finding>> {
        let Worker { book, source_name, .. } = &self.worker;
        let most = WARNINGS_MAX as i64;
        let parameters: Parameters<'_> = &[book, source_name, &reference_type, &rule.first_days, &rule.days, &most];
        let rows = self.scans.query(sql::BILLS_WITH_WARNINGS, parameters).await.doing("looking for odd taxes")?;
        let finding = |row: &Row| of_bill(Kind::TaxDiffers, reference_type, row.get(0), row.get(2), row.get(1));
        Ok(rows.iter().map(finding).collect())
    }
}
