//! What the consumer knows of an attached table: its key, its mapped columns, and the statement that reads its bills.

pub mod fit;

use std::collections::BTreeSet;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use self::fit::Definition;
use crate::database::{Parameters, Session, quote_identifier, quote_literal};
use crate::error::{Doing, Error, Result};
use crate::key;
use crate::posting::rule::{MappedColumn, Reading, RuleSet};
use crate::sql;

/// An attached table as it is at present, checked against its rule.
#[derive(Debug, Clone)]
pub struct Table {
    /// Name of the source that it belongs to.
    pub source: String,
    pub reference_type: String,
    /// Quoted and qualified, for SQL.
    pub qualified_name: String,
    pub key_types: Vec<String>,
    /// Whether no bill of it has been judged yet.
    pub is_first: bool,
    pub(crate) relation: u32,
    pub(crate) columns: Vec<String>,
    pub(crate) column_types: Vec<u32>,
    pub(crate) key_columns: Vec<String>,
    pub(crate) key_expression: String,
    /// The columns of the unique index by which the table is read in key order.
    pub(crate) order_columns: Vec<String>,
    /// Go-live date, policy on delete, when it was attached, and mode of capture, as the database spells them, for comparison.
    pub(crate) policies: Vec<Option<String>>,
}

/// What becomes of the entries of a bill whose row is gone, as `daybook.sync_source.on_delete` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    Reverse,
    Keep,
    Alert,
}

/// The event to which a posting is attributed: the highest one of the bill that was visible when its row was read.
#[derive(Debug, Clone)]
pub struct Cause {
    pub seq: i64,
    pub operation: String,
    pub origin: String,
    pub xid: String,
    pub changed_at: chrono::DateTime<chrono::Utc>,
    /// Day of the change in the book's zone.
    pub change_day: chrono::NaiveDate,
    pub session_user_name: String,
    pub application_name: String,
}

/// What the read found of one bill.
#[derive(Debug, Clone)]
pub struct Found {
    /// The texts of the rule's columns; `None` where no row has this key.
    pub row: Option<Vec<Option<String>>>,
    pub cause: Cause,
    /// Whether the application itself said last that the bill is gone.
    pub was_deleted: bool,
    /// Whether a TRUNCATE of the table is still queued.
    pub truncate_waits: bool,
    /// Whether every event of the bill or its table that the read saw comes from the stream of changes.
    pub is_told_by_stream_alone: bool,
    /// Of the row's key and mapped columns: [`Table::digest_expression`]; `None` where no row has this key.
    pub row_digest: Option<i64>,
    /// Whether two rows have this key.
    pub ambiguous: bool,
    /// Whether a part of its key is null, so that its row cannot be told from others.
    pub has_null_key: bool,
}

impl Table {
    /// Reads the definition, and says what keeps the rule from reading the table.
    pub async fn load(source: &Session, reference_type: &str, rules: &RuleSet) -> Result<Table> {
        let row = source
            .query_opt(sql::TABLE_DEFINITION, &[&reference_type])
            .await
            .doing("reading the table's definition")?
            .ok_or_else(|| Error::TableUnreadable(format!("no table is attached as {reference_type} any more")))?;
        let definition = Definition::of(&row);
        if let Some(misfit) = definition.misfits(rules).first() {
            return Err(Error::TableUnreadable(definition.explain(misfit)));
        }
        Ok(Table {
            source: row.get("source"),
            reference_type: reference_type.into(),
            qualified_name: row.get("qualified_name"),
            key_types: row.get("key_types"),
            is_first: row.get("is_first"),
            relation: row.get("relation"),
            columns: definition.columns,
            column_types: row.get("column_types"),
            key_columns: definition.key_columns,
            key_expression: row.get("key_expression"),
            order_columns: row.get::<_, Option<Vec<String>>>("order_columns").unwrap_or_default(),
            policies: row.get("policies"),
        })
    }

    /// The one statement that reads a batch of bills: per key its row's mapped columns, and the event of the bill that is
    /// the cause, in one snapshot. At top level, never in a function: an older snapshot would see no rows after an ALTER
    /// TABLE rewrite (design, rule 2). Where the row's canonical key text differs from the reference id, the row counts as
    /// absent (rule 4).
    ///
    /// Parameters: $1 reference type, $2 the book's time zone, $3 reference ids, $4… the parts of their keys as texts.
    fn read_statement(&self, rules: &RuleSet) -> String {
        let columns: String =
            rules.columns().iter().map(|column| format!(", {}", read_expression(column, "$2"))).collect();
        let parts = 1..=self.key_columns.len();
        let parameters: String = parts.clone().map(|part| format!(", ${}::text[]", part + 3)).collect();
        let names: String = parts.map(|part| format!(", part_{part}")).collect();
        let key = self.key_match();
        format!(
            "SELECT k.position, bill.{first} IS NOT NULL, {cause_columns}, \
             CASE WHEN bill.{first} IS NOT NULL THEN {digest} END{columns} \
             FROM unnest($3::text[]{parameters}) WITH ORDINALITY AS k (reference_id{names}, position) \
             CROSS JOIN LATERAL {cause} AS e \
             LEFT JOIN {table} AS bill ON {key}{canonical} = k.reference_id",
            first = quote_identifier(&self.key_columns[0]),
            cause_columns = cause_columns(self.is_cross_checked()),
            cause = cause(self.is_cross_checked()),
            digest = self.digest_expression(rules),
            table = self.qualified_name,
            canonical = self.key_expression,
        )
    }

    /// A digest of the row `bill`: of its key and its mapped columns, as the session writes them. A row whose digest is as it was when
    /// its bill was judged is the same row, but for one chance in 2^64; one whose digest differs may still mean the same.
    pub(crate) fn digest_expression(&self, rules: &RuleSet) -> String {
        let mapped = rules.columns().iter().map(|column| &column.name);
        let names: BTreeSet<&String> = self.key_columns.iter().chain(mapped).collect();
        // The types, too: what is written alike in another type may be read otherwise.
        let of =
            |name: &String| self.columns.iter().position(|column| column == name).map_or(0, |at| self.column_types[at]);
        let types: Vec<String> = names.iter().map(|name| of(name).to_string()).collect();
        let columns: Vec<String> = names.into_iter().map(|name| format!("bill.{}", quote_identifier(name))).collect();
        format!("hashtextextended(ROW('{}', {})::text COLLATE \"C\", 0)", types.join(" "), columns.join(", "))
    }

    /// The condition that a row `bill` has the key whose parts are `k.part_1` and so on.
    pub(crate) fn key_match(&self) -> String {
        let columns = self.key_columns.iter().zip(&self.key_types).enumerate();
        let matches = |(at, (column, of)): (usize, (&String, &String))| {
            format!("bill.{} = k.part_{}::{of} AND ", quote_identifier(column), at + 1)
        };
        columns.map(matches).collect()
    }

    /// The parts of the keys as columns of texts, null where no row can have the key.
    pub(crate) fn key_parts(&self, reference_ids: &[&str]) -> Vec<Vec<Option<String>>> {
        let mut columns = vec![Vec::with_capacity(reference_ids.len()); self.key_types.len()];
        for reference_id in reference_ids {
            let parts = key::parts(reference_id, &self.key_types);
            for (at, column) in columns.iter_mut().enumerate() {
                column.push(parts.as_ref().map(|parts| parts[at].clone()));
            }
        }
        columns
    }

    /// Reads a batch; the answer has one place per reference id, in their order.
    pub async fn read(
        &self,
        source: &Session,
        rules: &RuleSet,
        time_zone: &str,
        reference_ids: &[&str],
    ) -> Result<Vec<Found>> {
        let columns = self.key_parts(reference_ids);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.reference_type, &time_zone, &reference_ids];
        for column in &columns {
            parameters.push(column);
        }
        self.hold_still(source).await?;
        let rows = source.query(&self.read_statement(rules), &parameters).await.doing("reading the bills")?;
        let mut found = places(rows, reference_ids.len(), rules.columns().len())?;
        for (found, reference_id) in found.iter_mut().zip(reference_ids) {
            found.has_null_key = key::has_null(reference_id, &self.key_types);
        }
        Ok(found)
    }

    /// Locks the table against DDL until the transaction ends, and looks whether its columns are still those that this was
    /// prepared for. Their types were found harmless to read; another type could bring code of the application's along.
    pub(crate) async fn hold_still(&self, source: &Session) -> Result<()> {
        self.look_again(source).await?;
        let lock = format!("SELECT FROM {} WHERE false", self.qualified_name);
        source.query(&lock, &[]).await.doing("locking the table against DDL")?;
        self.look_again(source).await
    }

    /// Before the lock, too: a view that took the table's name would run its functions as soon as it is named.
    async fn look_again(&self, source: &Session) -> Result<()> {
        let parameters: Parameters<'_> = &[&self.relation, &self.qualified_name];
        let now = source.query_one(sql::COLUMN_TYPES, parameters).await.doing("looking at the columns")?;
        let (columns, column_types): (Vec<String>, Vec<u32>) = (now.get("columns"), now.get("column_types"));
        let policies: Option<Vec<Option<String>>> = now.get("policies");
        let is_still_harmless: bool = now.get("is_still_harmless");
        if !is_still_harmless
            || columns != self.columns
            || column_types != self.column_types
            || policies.as_ref() != Some(&self.policies)
        {
            return Err(Error::DefinitionChanged(self.reference_type.clone()));
        }
        Ok(())
    }

    /// The causes alone, for bills that are parked because reading or posting them fails; each counts as without row.
    pub async fn read_causes(&self, source: &Session, time_zone: &str, reference_ids: &[&str]) -> Result<Vec<Found>> {
        let sql = format!(
            "SELECT k.position, false, {}, NULL::bigint \
             FROM unnest($3::text[]) WITH ORDINALITY AS k (reference_id, position) CROSS JOIN LATERAL {} AS e",
            cause_columns(self.is_cross_checked()),
            cause(self.is_cross_checked())
        );
        let rows = source.query(&sql, &[&self.reference_type, &time_zone, &reference_ids]).await;
        places(rows.doing("reading the events' causes")?, reference_ids.len(), 0)
    }

    /// Forgets what was prepared for this table, which may have changed.
    pub fn forget(&self, source: &Session, rules: &RuleSet) {
        source.forget(&self.read_statement(rules));
        source.forget(&format!("SELECT FROM {} WHERE false", self.qualified_name));
    }

    /// Whether it is captured both by trigger and from the WAL.
    pub fn is_cross_checked(&self) -> bool {
        self.policies.get(3).and_then(Option::as_deref) == Some("both")
    }

    /// Bills from before this day are out of scope.
    pub fn go_live(&self) -> Option<chrono::NaiveDate> {
        self.policies.first()?.as_ref()?.parse().ok()
    }

    pub fn on_delete(&self) -> OnDelete {
        match self.policies.get(1).and_then(Option::as_deref) {
            Some("keep") => OnDelete::Keep,
            Some("alert") => OnDelete::Alert,
            _ => OnDelete::Reverse,
        }
    }
}

/// What a look at a bill found, beside what its events say.
pub(crate) struct Look {
    pub found: Found,
    /// Whether an event of the bill waits.
    pub is_pending: bool,
    /// Whether one of the whole table does, whose bills are told later.
    pub table_is_pending: bool,
}

impl Table {
    /// Looks at bills, under their locks in the ledger: rows and queue in one snapshot, so that what is committed and not yet posted
    /// is seen to be on its way. Each look counts as one of our own, of today.
    pub(crate) async fn look(
        &self,
        source: &Session,
        rules: &RuleSet,
        time_zone: &str,
        reference_ids: &[&str],
    ) -> Result<Vec<Look>> {
        let key_parts = self.key_parts(reference_ids);
        let columns: String =
            rules.columns().iter().map(|column| format!(", {}", read_expression(column, "$2"))).collect();
        let parts = 1..=self.key_columns.len();
        let parameters: String = parts.clone().map(|part| format!(", ${}::text[]", part + 3)).collect();
        let names: String = parts.map(|part| format!(", part_{part}")).collect();
        let statement = format!(
            "SELECT k.position, bill.{first} IS NOT NULL, 0::bigint, 'synchronise', 'repair', '0', clock_timestamp(), \
             timezone($2, clock_timestamp())::date, '', '', false, false, false, \
             CASE WHEN bill.{first} IS NOT NULL THEN {digest} END{columns}, \
             EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id = k.reference_id), \
             EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id IS NULL) \
             FROM unnest($3::text[]{parameters}) WITH ORDINALITY AS k (reference_id{names}, position) \
             LEFT JOIN {table} AS bill ON {key}{canonical} = k.reference_id",
            first = quote_identifier(&self.key_columns[0]),
            digest = self.digest_expression(rules),
            table = self.qualified_name,
            key = self.key_match(),
            canonical = self.key_expression,
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.reference_type, &time_zone, &reference_ids];
        parameters.extend(key_parts.iter().map(|column| column as &(dyn ToSql + Sync)));
        self.hold_still(source).await?;
        let rows = source.query(&statement, &parameters).await.doing("looking at the bills")?;
        source.forget(&statement);
        let after = FIRST_COLUMN + rules.columns().len();
        let mut waits = vec![(false, false); reference_ids.len()];
        for row in &rows {
            waits[row.get::<_, i64>(0) as usize - 1] = (row.get(after), row.get(after + 1));
        }
        let mut found = places(rows, reference_ids.len(), rules.columns().len())?;
        for (found, reference_id) in found.iter_mut().zip(reference_ids) {
            found.has_null_key = key::has_null(reference_id, &self.key_types);
        }
        let look = |(found, (is_pending, table_is_pending))| Look { found, is_pending, table_is_pending };
        Ok(found.into_iter().zip(waits).map(look).collect())
    }
}

/// How a mapped column is read, as exact text or null. `zone` is the SQL of the book's time zone.
pub fn read_expression(column: &MappedColumn, zone: &str) -> String {
    let name = quote_identifier(&column.name);
    match &column.reading {
        Reading::LocalDate { time_zone: None } => format!("daybook.local_date(bill.{name}, {zone})"),
        Reading::LocalDate { time_zone: Some(zone) } => {
            format!("daybook.local_date(bill.{name}, {})", quote_literal(zone))
        }
        Reading::Amount => format!("daybook.amount_text(bill.{name})"),
        Reading::Text => format!("daybook.bounded_text(bill.{name}::text)"),
    }
}

/// Whether the event `q` is a change that the stream found. Who wrote it is not in the WAL.
const IS_OF_STREAM: &str = "q.origin = 'wal' AND q.operation IN ('insert', 'update', 'delete')";

/// The committed event of the bill `k` that is the cause of what is posted now: the latest; there is one, since the reader holds a claimed
/// one. Those that this very transaction enqueued, spreading an event of the whole table, are no cause: they may never be committed, and
/// the ledger would name them for ever. Where triggers capture beside the stream, the stream's is the cause only where it is all there is:
/// another one says who wrote, and the stream's is mostly of a column that nobody maps.
fn cause(is_cross_checked: bool) -> String {
    let latest = |and: &str| {
        format!(
            "(SELECT * FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id = k.reference_id \
              AND q.xid IS DISTINCT FROM pg_current_xact_id_if_assigned(){and} ORDER BY q.seq DESC LIMIT 1)"
        )
    };
    match is_cross_checked {
        false => latest(""),
        true => format!(
            "(SELECT * FROM ({told} UNION ALL {latest}) AS q ORDER BY {IS_OF_STREAM}, q.seq DESC LIMIT 1)",
            told = latest(&format!(" AND NOT ({IS_OF_STREAM})")),
            latest = latest(""),
        ),
    }
}

/// What is read of the cause `e`; whether the application itself said last that the bill is gone, however many of our own events follow; and
/// whether a TRUNCATE of the table waits to be told to its bills, so that a row may be gone by it although the bill's event is older; and
/// whether nothing speaks of the bill but changes that the stream found in this mode.
fn cause_columns(is_cross_checked: bool) -> String {
    format!(
        "e.seq, e.operation, e.origin, e.xid::text, e.enqueued_at, \
         timezone($2, e.enqueued_at)::date, e.session_user_name, e.application_name, \
         CASE WHEN {is_cross_checked} OR e.operation IN ('truncate', 'synchronise', 'resolve') \
              THEN coalesce((SELECT w.operation = 'delete' FROM daybook.sync_queue AS w \
                             WHERE w.reference_type = $1 AND w.reference_id = k.reference_id AND w.origin IN ('trigger', 'wal') \
                             ORDER BY w.seq DESC LIMIT 1), false) \
              ELSE e.operation = 'delete' END, \
         EXISTS (SELECT FROM daybook.sync_queue AS t \
                 WHERE t.reference_type = $1 AND t.reference_id IS NULL AND t.operation = 'truncate'), \
         {is_cross_checked} \
         AND e.enqueued_at >= (SELECT s.capture_mode_began_at FROM daybook.sync_source AS s WHERE s.reference_type = $1) \
         AND NOT EXISTS (SELECT FROM daybook.sync_queue AS q \
                         WHERE q.reference_type = $1 AND q.reference_id = k.reference_id AND NOT ({IS_OF_STREAM})) \
         AND NOT EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = $1 AND q.reference_id IS NULL)"
    )
}

/// Puts the rows of a read into the places that they name, counted from 1.
fn places(rows: Vec<Row>, places: usize, columns: usize) -> Result<Vec<Found>> {
    let mut found: Vec<Option<Found>> = vec![None; places];
    for row in rows {
        let position: i64 = row.get(0);
        match &mut found[position as usize - 1] {
            Some(twin) => twin.ambiguous = true,
            place => *place = Some(found_of(&row, columns)),
        }
    }
    let lost = || Error::Unexpected("a claimed event was not visible to the read that followed".into());
    found.into_iter().collect::<Option<Vec<_>>>().ok_or_else(lost)
}

/// The place of the first mapped column in what a read gives.
const FIRST_COLUMN: usize = 14;

fn found_of(row: &Row, columns: usize) -> Found {
    let values = || (FIRST_COLUMN..FIRST_COLUMN + columns).map(|at| row.get(at)).collect();
    Found {
        row: row.get::<_, bool>(1).then(values),
        cause: Cause {
            seq: row.get(2),
            operation: row.get(3),
            origin: row.get(4),
            xid: row.get(5),
            changed_at: row.get(6),
            change_day: row.get(7),
            session_user_name: row.get(8),
            application_name: row.get(9),
        },
        was_deleted: row.get(10),
        truncate_waits: row.get(11),
        is_told_by_stream_alone: row.get(12),
        row_digest: row.get(13),
        ambiguous: false,
        has_null_key: false,
    }
}
