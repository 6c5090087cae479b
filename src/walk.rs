//! Walking a whole table: its keys in order, a chunk at a time, and which bills that the ledger knows have no row in it.

use tokio_postgres::types::ToSql;

use crate::capture::Table;
use crate::database::{Session, quote_identifier, quote_literal};
use crate::error::{Doing, Error, Result};
use crate::posting::rule::RuleSet;

/// The capture function has the same bound: an index of the queue could not hold much longer keys.
const KEY_BYTES_MAX: u32 = 1_024;

/// How many keys are enqueued at a time.
const CHUNK_ROWS: i64 = 2_000;

/// What enqueueing a chunk of a table came to.
#[derive(Debug)]
pub struct Chunk {
    /// Keys that it held.
    pub seen: i64,
    /// Those of them that were enqueued.
    pub enqueued: i64,
    /// How far the walk has come: the columns that it goes by, and the parts of the last key, after which the next chunk begins.
    pub progress: Option<Vec<String>>,
    /// Keys that were left out because they are longer than the queue takes.
    pub too_long: i64,
    /// Whether the table's end was reached.
    pub is_last: bool,
}

impl Table {
    /// Enqueues the next keys of the table after the given one, in key order, server-side. Those that are surely older than
    /// the go-live date are passed over, and keys of which a part became null, beyond which nothing can be asked to lie: doctor tells them.
    pub async fn enqueue_chunk(
        &self,
        source: &Session,
        rules: &RuleSet,
        time_zone: &str,
        progress: Option<&[String]>,
        origin: &str,
    ) -> Result<Chunk> {
        let columns = self.order()?;
        self.hold_still(source).await?;
        let order = self.walking_order();
        // Where another index has taken over, or a column orders otherwise since it was retyped, the walk begins anew.
        let after = progress.filter(|progress| progress.first() == Some(&order)).map(|progress| &progress[1..]);
        let statement = self.chunk_statement(rules, time_zone, &columns, after.is_some());
        let go_live = self.go_live();
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&self.source, &self.reference_type, &origin, &CHUNK_ROWS, &go_live];
        for part in after.unwrap_or_default() {
            parameters.push(part);
        }
        let row = source.query_one(&statement, &parameters).await.doing("enqueueing the table's bills")?;
        source.forget(&statement);
        let seen: i64 = row.get(0);
        let last: Option<Vec<String>> = row.get(2);
        let progress = match last {
            Some(last) => Some(std::iter::once(order).chain(last).collect()),
            None => progress.map(<[String]>::to_vec),
        };
        Ok(Chunk { seen, enqueued: row.get(1), progress, too_long: row.get(3), is_last: seen < CHUNK_ROWS })
    }

    /// The order of the walk, for SQL.
    pub(crate) fn order(&self) -> Result<String> {
        if self.order_columns.is_empty() {
            return Err(Error::TableUnreadable(format!(
                "{} has no unique index of its key any more, by which it could be read in order. Its events wait. Put it back",
                self.qualified_name
            )));
        }
        Ok(self
            .order_columns
            .iter()
            .map(|name| format!("bill.{}", quote_identifier(name)))
            .collect::<Vec<_>>()
            .join(", "))
    }

    /// Where a row stands in the order, as texts.
    pub(crate) fn place_texts(&self) -> String {
        let texts = self.order_columns.iter().map(|name| format!("bill.{}::text", quote_identifier(name)));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// A place in the order as parameters from this number on; each is a text, which the cast makes the column's own type, as the
    /// index knows it.
    pub(crate) fn place_parameters(&self, first: usize) -> String {
        let parts = self.order_columns.iter().enumerate();
        let parts = parts.map(|(at, name)| format!("${}::text::{}", at + first, self.key_type(name)));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// By what the walk goes: the columns of an index, with their types.
    fn walking_order(&self) -> String {
        let columns =
            self.order_columns.iter().map(|name| format!("{} {}", quote_identifier(name), self.key_type(name)));
        columns.collect::<Vec<_>>().join(", ")
    }

    fn key_type(&self, name: &String) -> &str {
        let at = self.key_columns.iter().position(|key| key == name);
        at.and_then(|at| self.key_types.get(at)).map_or("text", String::as_str)
    }

    /// Parameters: $1 source, $2 reference type, $3 origin, $4 rows, $5 go-live date, $6… the parts of the key to go on after.
    fn chunk_statement(&self, rules: &RuleSet, time_zone: &str, order: &str, goes_on: bool) -> String {
        let texts = self.place_texts();
        let beyond = match goes_on {
            false => String::new(),
            true => format!(" AND ({order}) > ({})", self.place_parameters(6)),
        };
        format!(
            "WITH page AS MATERIALIZED (SELECT p.*, row_number() OVER () AS n FROM (\
                 SELECT {key} AS id, {scope} AS is_in_scope, ARRAY[{texts}] AS place FROM {table} AS bill \
                 WHERE ({order}) IS NOT NULL{beyond} \
                 ORDER BY {order} LIMIT $4) AS p), \
             enqueued AS (INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin) \
                 SELECT $1, $2, id, 'synchronise', $3 FROM page WHERE is_in_scope AND octet_length(id) <= {KEY_BYTES_MAX} \
             ORDER BY n RETURNING seq) \
             SELECT (SELECT count(*) FROM page), (SELECT count(*) FROM enqueued), \
                    (SELECT place FROM page ORDER BY n DESC LIMIT 1), \
                    (SELECT count(*) FROM page WHERE octet_length(id) > {KEY_BYTES_MAX})",
            key = self.key_expression,
            scope = self.scope_expression(rules, time_zone, 5),
            table = self.qualified_name,
        )
    }

    /// Whether a row may be in scope: not by any version's date before the go-live date, the parameter of this number. No date is taken
    /// apart here, so that none can fail; what the rule makes of it is judged when the bill is synchronised.
    pub(crate) fn scope_expression(&self, rules: &RuleSet, time_zone: &str, go_live: usize) -> String {
        const DATE: u32 = 1082;
        const TIMESTAMP: u32 = 1114;
        const TIMESTAMPTZ: u32 = 1184;
        let mut expressions = vec![format!("${go_live}::date IS NULL")];
        for rule in rules.versions() {
            let name = &rule.date_column().name;
            let at = self.columns.iter().position(|column| column == name);
            let column = format!("bill.{}", quote_identifier(name));
            let zone = quote_literal(rule.time_zone.as_deref().unwrap_or(time_zone));
            expressions.push(match at.map(|at| self.column_types[at]) {
                Some(DATE | TIMESTAMP) => format!("coalesce({column} >= ${go_live}::date, true)"),
                Some(TIMESTAMPTZ) => {
                    format!("coalesce({column} >= timezone({zone}, (${go_live}::date - 1)::timestamp), true)")
                }
                _ => "true".into(),
            });
        }
        format!("({})", expressions.join(" OR "))
    }

    /// Those of the bills that have no row in the table.
    pub async fn without_row(&self, source: &Session, reference_ids: &[String]) -> Result<Vec<String>> {
        let reference_ids: Vec<&str> = reference_ids.iter().map(String::as_str).collect();
        let columns = self.key_parts(&reference_ids);
        let parts = 1..=columns.len();
        let parameters: String = parts.clone().map(|part| format!(", ${}::text[]", part + 1)).collect();
        let names: String = parts.map(|part| format!(", part_{part}")).collect();
        let statement = format!(
            "SELECT k.reference_id FROM unnest($1::text[]{parameters}) AS k (reference_id{names}) \
             WHERE NOT EXISTS (SELECT FROM {} AS bill WHERE {}{} = k.reference_id)",
            self.qualified_name,
            self.key_match(),
            self.key_expression
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&reference_ids];
        for column in &columns {
            parameters.push(column);
        }
        let rows = source.query(&statement, &parameters).await.doing("looking for bills without row")?;
        source.forget(&statement);
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
