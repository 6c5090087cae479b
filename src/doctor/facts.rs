//! What doctor reads of the two databases: one struct a statement of `sql/doctor`, which gives it as JSON. Checks are pure
//! functions of these.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::posting::rule::RuleSet;

/// A setting of new sessions, and where it was set, as `pg_settings` names the places.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Setting {
    pub value: String,
    pub source: String,
}

/// `server.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Server {
    pub user: String,
    pub database: String,
    pub encoding: String,
    pub system_identifier: i64,
    pub database_oid: u32,
    pub timeline: String,
    pub in_recovery: bool,
    pub settings: BTreeMap<String, Setting>,
    pub reserved_connections: i64,
    pub clients: i64,
    pub database_connection_limit: i64,
    pub database_clients: i64,
    pub role_connection_limit: i64,
    pub role_clients: i64,
    pub xid_age: i64,
    pub may_read_stats: bool,
}

impl Server {
    /// The value of a setting; empty where it is not known.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", |setting| setting.value.as_str())
    }
}

/// Backends that two sessions of ours were served by: the first, the second while it was inside a transaction, and then the
/// first again, `None` where that had to wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backends {
    pub first: i32,
    pub second: i32,
    pub first_again: Option<i32>,
}

/// A server's clock beside ours, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// Server minus this machine, at the middle of the round trip.
    pub ahead_ms: i64,
    /// How far that may be off: half a round trip.
    pub doubt_ms: i64,
}

/// `schema.sql`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Schema {
    pub exists: bool,
    pub has_history: bool,
    pub may_look: bool,
}

/// A function of the catalog.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Function {
    pub name: String,
    /// Types of what goes in.
    pub arguments: String,
    pub signature: String,
    pub body: String,
    pub language: String,
    pub security_definer: bool,
    pub volatility: String,
    pub settings: Vec<String>,
}

/// `guards.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Guards {
    pub triggers: Vec<Trigger>,
    pub rules: Vec<OnTable>,
    pub row_security: Vec<String>,
    pub inheritance: Vec<Inheritance>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Trigger {
    pub table: String,
    pub name: String,
    pub enabled: String,
    /// `pg_trigger.tgtype`
    pub kind: i16,
    pub new_table: Option<String>,
    pub function: String,
    /// Without condition, arguments, columns, deferral.
    pub is_plain: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct OnTable {
    pub table: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Inheritance {
    pub child: String,
    pub parent: String,
    pub is_partition: bool,
}

/// `rights.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Rights {
    pub owner: String,
    pub schema_grants: Vec<SchemaGrant>,
    pub strangers_objects: Vec<Owned>,
    pub grants: Vec<Grant>,
    pub function_grants: Vec<FunctionGrant>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct SchemaGrant {
    pub grantee: String,
    pub is_public: bool,
    pub privilege: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Owned {
    pub kind: String,
    pub name: String,
    pub owner: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Grant {
    pub name: String,
    pub is_sequence: bool,
    pub column: Option<String>,
    pub grantee: String,
    pub is_public: bool,
    pub privilege: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct FunctionGrant {
    pub name: String,
    pub grantee: String,
    pub is_public: bool,
}

/// `roles.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Roles {
    pub user: String,
    pub roles: Vec<Role>,
    /// `None` where there is no daybook_consumer.
    pub may_consume: Option<bool>,
    pub owner_reads_stats: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Role {
    pub name: String,
    pub can_login: bool,
    pub is_superuser: bool,
    pub bypasses_row_security: bool,
    pub makes_roles: bool,
    pub replicates: bool,
}

/// `transactions.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Transactions {
    pub sessions: Vec<OpenTransaction>,
    pub prepared: Vec<Prepared>,
    pub slots: Vec<Slot>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct OpenTransaction {
    pub pid: i32,
    pub user: String,
    pub application: String,
    pub state: String,
    pub seconds: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Prepared {
    pub gid: String,
    pub owner: String,
    pub seconds: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Slot {
    pub name: String,
    pub active: bool,
    pub wal_status: String,
    pub xid_age: Option<i64>,
    pub retained_bytes: Option<i64>,
}

/// `queue.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Queue {
    pub dead_rows: i64,
    pub live_rows: i64,
    pub table_bytes: i64,
    pub index_bytes: i64,
    pub xid_age: i64,
    pub autovacuum_is_off: bool,
    pub oldest_due_seconds: Option<i64>,
    pub consumers_alive: i64,
    pub paused_by: Option<String>,
}

/// `attention.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Attention {
    pub source: Option<String>,
    pub book: Option<String>,
    pub token: Option<String>,
    pub highest_seq: i64,
    pub proposed: Option<String>,
    pub ledger_system_identifier: Option<i64>,
    pub ledger_database_oid: Option<u32>,
    pub ledger_timeline: Option<String>,
    pub alerts: Vec<Alert>,
    pub parked: Vec<ParkedBills>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Alert {
    pub alert_id: i64,
    pub alert_type: String,
    pub cause: String,
    pub state: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct ParkedBills {
    pub reference_type: String,
    pub bills: i64,
}

/// `book.sql`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Book {
    /// `None`: the ledger has no such book.
    pub time_zone: Option<String>,
    pub accounts: Vec<String>,
    pub rules: Vec<RuleText>,
    pub known: Option<KnownSource>,
    pub retained: Vec<Retained>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct RuleText {
    pub reference_type: String,
    pub definition: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct KnownSource {
    pub token: Option<String>,
    pub highest_seq: i64,
    pub database_name: String,
    pub system_identifier: Option<i64>,
    pub database_oid: Option<u32>,
    pub timeline: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Retained {
    pub reference_type: String,
    pub because: String,
    pub bills: i64,
    /// A hundred of them at most.
    pub reference_ids: Vec<String>,
}

/// An attached table: `tables.sql`, and what its rule makes of its columns.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Attached {
    pub reference_type: String,
    pub relation_name: String,
    pub is_there: bool,
    /// Quoted and qualified; the last known one of a table that was dropped.
    pub name: String,
    /// Where it was dropped: another table of its name.
    pub namesake: Option<String>,
    pub is_suspended: bool,
    pub key_columns: Vec<String>,
    pub filter_columns: Vec<String>,
    pub keys: Vec<KeyColumn>,
    pub has_unique_index: bool,
    pub columns: Vec<String>,
    pub granted_columns: Vec<String>,
    pub unreadable_columns: Vec<String>,
    pub unreadable_schema: Option<String>,
    pub row_security_refuses: bool,
    pub has_row_security: bool,
    pub capture_is_whole: bool,
    pub truncate_is_whole: bool,
    pub wrong_triggers: Vec<CaptureTrigger>,
    pub has_function: bool,
    pub function_is_ours: Option<bool>,
    pub partitions_changed: bool,
    pub inheriting_tables: Vec<String>,
    pub was_enqueued: bool,
    pub is_being_enqueued: bool,
    pub has_rows: bool,
    #[serde(skip)]
    pub rule: RuleFacts,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeyColumn {
    pub column: String,
    pub attached_type: String,
    #[serde(rename = "type")]
    pub present_type: String,
    pub is_same_type: bool,
    pub is_not_null: bool,
    pub can_be_key: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct CaptureTrigger {
    pub table: String,
    pub name: String,
    pub is_clone: bool,
}

/// The versions of a table's rule that are in force.
#[derive(Debug, Clone, Default)]
pub enum RuleFacts {
    /// The ledger could not be asked.
    #[default]
    Unknown,
    None,
    Unusable(String),
    InForce {
        rules: RuleSet,
        /// Each with one line for a person.
        misfits: Vec<(crate::capture::fit::Misfit, String)>,
    },
}

/// Local times of the same instants by zone; `None` where the server does not know the zone.
pub type Zones = BTreeMap<String, Option<Vec<String>>>;
