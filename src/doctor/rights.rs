//! Roles, owners and rights: as `sql/roles.sql` and the files of privileges leave them. Pure.

use super::facts::{Attached, Function, FunctionGrant, Grant, Owned, Rights, Role, Roles};
use super::finding::{Finding, Place};
use crate::database::{Side, quote_identifier};

const ROLES: [&str; 5] =
    ["daybook_owner", "daybook_consumer", "daybook_reader", "daybook_controller", "daybook_cashier"];

fn place(side: Side) -> Place {
    match side {
        Side::Source => Place::Source,
        Side::Ledger => Place::Ledger,
    }
}

/// The five roles are there, and can do no more than they are granted.
pub fn roles(roles: &Roles, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ROLES {
        let Some(role) = roles.roles.iter().find(|role| role.name == name) else {
            findings.push(Finding::error("roles", name, "is missing").fix(Place::Shell, "daybook install"));
            continue;
        };
        let Role { can_login, is_superuser, bypasses_row_security, makes_roles, replicates, .. } = role;
        let mut too_much =
            |is: bool, finding: fn(&'static str, String, String) -> Finding, what: &str, without: &str| {
                if is {
                    let fix = format!("ALTER ROLE {name} {without};");
                    findings.push(finding("roles", name.to_string(), what.to_string()).fix(place(side), fix));
                }
            };
        too_much(*is_superuser, Finding::error, "is a superuser: nothing limits what runs as it", "NOSUPERUSER");
        too_much(*can_login, Finding::warning, "can log in: logins are granted it instead", "NOLOGIN");
        too_much(*makes_roles, Finding::warning, "may make roles", "NOCREATEROLE");
        too_much(*replicates, Finding::warning, "may replicate, and so read every table", "NOREPLICATION");
        too_much(
            *bypasses_row_security && name != "daybook_consumer",
            Finding::error,
            "passes by row security",
            "NOBYPASSRLS",
        );
    }
    findings
}

/// The consumer may pass by row security where an attached table has it, and has no reason to elsewhere.
pub fn consumer_bypass(roles: &Roles, tables: &[Attached]) -> Vec<Finding> {
    let bypasses = roles.roles.iter().any(|role| role.name == "daybook_consumer" && role.bypasses_row_security);
    if !bypasses || tables.iter().any(|table| table.has_row_security) {
        return Vec::new();
    }
    let problem = "passes by row security, and no attached table of this database has any (if none of another database of the \
                   cluster has, it needs it no longer)";
    vec![
        Finding::info("roles", "daybook_consumer", problem)
            .fix(Place::Source, "ALTER ROLE daybook_consumer NOBYPASSRLS;"),
    ]
}

/// The role of the URL may act as the consumer.
pub fn may_consume(roles: &Roles, side: Side) -> Vec<Finding> {
    if roles.may_consume != Some(false) {
        return Vec::new();
    }
    let problem = format!("may not act as daybook_consumer in the {} database, as `daybook run` does", side.name());
    let fix = format!("GRANT daybook_consumer TO {};", quote_identifier(&roles.user));
    vec![Finding::error("may_consume", &roles.user, problem).fix(place(side), fix)]
}

/// Reconciling waits for older transactions, which daybook_owner must see.
pub fn statistics(roles: &Roles) -> Vec<Finding> {
    if roles.owner_reads_stats != Some(false) {
        return Vec::new();
    }
    let problem = "may not see how old other sessions' snapshots are: a table would be reconciled before older transactions have \
                   ended, and miss what they write";
    vec![
        Finding::error("statistics", "daybook_owner", problem)
            .fix(Place::Source, "GRANT pg_read_all_stats TO daybook_owner;"),
    ]
}

/// The schema and everything in it belongs to daybook_owner.
pub fn owners(rights: &Rights, schema: &str, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rights.owner != "daybook_owner" {
        findings.push(
            Finding::error("owners", format!("schema {schema}"), format!("belongs to {}", rights.owner))
                .fix(place(side), format!("ALTER SCHEMA {schema} OWNER TO daybook_owner;")),
        );
    }
    for Owned { kind, name, owner } in &rights.strangers_objects {
        findings.push(
            Finding::error("owners", name, format!("belongs to {owner}, who may change it, and daybook may not"))
                .fix(place(side), format!("ALTER {kind} {name} OWNER TO daybook_owner;")),
        );
    }
    findings
}

/// Nobody else may name what is in our schemas, nor make anything there.
pub fn schema_rights(rights: &Rights, schema: &str, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    for grant in &rights.schema_grants {
        let usage_is_fine = !grant.is_public && grant.privilege == "USAGE";
        if usage_is_fine {
            continue;
        }
        let (grantee, privilege) = (grantee(&grant.grantee, grant.is_public), &grant.privilege);
        findings.push(
            Finding::error(
                "schema_rights",
                format!("schema {schema}"),
                format!("{} has {privilege} on it", grant.grantee),
            )
            .fix(place(side), format!("REVOKE {privilege} ON SCHEMA {schema} FROM {grantee};")),
        );
    }
    let users: &[&str] = match side {
        Side::Source => &["daybook_consumer", "daybook_reader"],
        Side::Ledger => &["daybook_consumer", "daybook_reader", "daybook_controller", "daybook_cashier"],
    };
    for role in users {
        let has = |privilege: &str| {
            rights.schema_grants.iter().any(|grant| grant.grantee == *role && grant.privilege == privilege)
        };
        if !has("USAGE") {
            findings.push(
                Finding::error("schema_rights", *role, format!("has no USAGE on schema {schema}"))
                    .fix(place(side), format!("GRANT USAGE ON SCHEMA {schema} TO {role};")),
            );
        }
    }
    findings
}

fn grantee(name: &str, is_public: bool) -> String {
    if is_public { "PUBLIC".into() } else { quote_identifier(name) }
}

/// What the files of privileges grant: roles, privileges, tables or columns of tables.
type Granted = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const CONSUMER: &[&str] = &["daybook_consumer"];
const READERS: &[&str] = &["daybook_consumer", "daybook_reader"];
const LEDGER_READERS: &[&str] = &["daybook_consumer", "daybook_reader", "daybook_controller"];

const SOURCE_GRANTS: &[Granted] = &[
    (
        READERS,
        &["SELECT"],
        &[
            "sync_configuration",
            "sync_source",
            "sync_queue",
            "sync_dead_letter",
            "sync_audit_log",
            "sync_alerts",
            "sync_system_health",
            "sync_health_figures",
            "ledger_meeting",
            "schema_history",
            "current_alerts",
            "dead_letters",
            "reconciliation_runs",
            "reconciliation_findings",
            "clinic_rules",
            "wal_progress",
        ],
    ),
    (CONSUMER, &["INSERT", "UPDATE", "DELETE"], &["sync_queue", "sync_system_health", "wal_progress"]),
    (CONSUMER, &["INSERT"], &["sync_audit_log", "sync_health_figures"]),
    (
        CONSUMER,
        &["INSERT", "UPDATE"],
        &["sync_dead_letter", "sync_alerts", "reconciliation_runs", "reconciliation_findings"],
    ),
    (&["daybook_controller"], &["INSERT", "UPDATE", "DELETE"], &["clinic_rules"]),
    (
        CONSUMER,
        &["UPDATE"],
        &["ledger_meeting", "sync_source(rules)", "sync_source(partitions)", "sync_source(reconciled_at)"],
    ),
];

const LEDGER_GRANTS: &[Granted] = &[
    (
        LEDGER_READERS,
        &["SELECT"],
        &[
            "books",
            "accounts",
            "periods",
            "posting_rules",
            "journal_entries",
            "journal_lines",
            "sync_master_status",
            "sources",
            "period_log",
            "reversal_brakes",
            "blocks",
            "chains",
            "schema_history",
            "trial_balance",
            "reference_balances",
            "late_entries",
            "cash_days",
            "cash_counts",
            "cash_closing_accounts",
            "cash_closings",
            "cash_reopenings",
            "closed_cash_days",
            "cash_closures",
            "last_cash_counts",
            "late_cash_entries",
            "open_bills",
            "party_balances",
            "open_receivables",
            "credit_balances",
        ],
    ),
    (
        &["daybook_cashier"],
        &["SELECT"],
        &[
            "books",
            "accounts",
            "cash_closures",
            "cash_counts",
            "last_cash_counts",
            "cash_closing_accounts",
            "late_cash_entries",
        ],
    ),
    (CONSUMER, &["INSERT"], &["journal_entries", "journal_lines", "blocks"]),
    (CONSUMER, &["INSERT", "UPDATE"], &["sync_master_status", "sources", "reversal_brakes", "chains"]),
    (CONSUMER, &["USAGE"], &["journal_entry_id"]),
    (&["daybook_controller"], &["INSERT", "UPDATE", "DELETE"], &["accounts"]),
];

/// What a grant is on, as in the lists above.
fn target(schema: &str, grant: &Grant) -> String {
    let name = grant.name.strip_prefix(&format!("{schema}.")).unwrap_or(&grant.name);
    match &grant.column {
        Some(column) => format!("{name}({column})"),
        None => name.into(),
    }
}

/// Our roles have the rights that they need, and nobody else may write.
pub fn table_rights(rights: &Rights, schema: &str, side: Side) -> Vec<Finding> {
    let expected = match side {
        Side::Source => SOURCE_GRANTS,
        Side::Ledger => LEDGER_GRANTS,
    };
    let mut findings = Vec::new();
    for (roles, privileges, tables) in expected {
        for (role, privilege, table) in roles
            .iter()
            .flat_map(|role| privileges.iter().flat_map(move |p| tables.iter().map(move |table| (role, p, table))))
        {
            let is_it = |grant: &Grant| {
                grant.grantee == *role && grant.privilege == *privilege && target(schema, grant) == *table
            };
            if !rights.grants.iter().any(is_it) {
                let (name, columns) = match table.split_once('(') {
                    Some((name, column)) => (name, format!(" ({column}")),
                    None => (*table, String::new()),
                };
                let kind = if *privilege == "USAGE" { "SEQUENCE " } else { "" };
                findings.push(
                    Finding::error("table_rights", *role, format!("lacks {privilege} on {schema}.{table}"))
                        .fix(place(side), format!("GRANT {privilege}{columns} ON {kind}{schema}.{name} TO {role};")),
                );
            }
        }
    }
    for grant in rights.grants.iter().filter(|grant| grant.privilege != "SELECT") {
        let target = target(schema, grant);
        let is_expected = |(roles, privileges, tables): &Granted| {
            roles.contains(&grant.grantee.as_str())
                && privileges.contains(&grant.privilege.as_str())
                && tables.contains(&target.as_str())
        };
        if expected.iter().any(is_expected) {
            continue;
        }
        let Grant { name, privilege, .. } = grant;
        let (who, columns) = (
            grantee(&grant.grantee, grant.is_public),
            grant.column.as_ref().map(|c| format!(" ({c})")).unwrap_or_default(),
        );
        let kind = if grant.is_sequence { "SEQUENCE " } else { "" };
        let problem = format!("{} has {privilege}{columns} on it, and should not", grant.grantee);
        let finding = match name.starts_with("ledger.journal") {
            true => Finding::error("table_rights", name, problem),
            false => Finding::warning("table_rights", name, problem),
        };
        findings.push(finding.fix(place(side), format!("REVOKE {privilege}{columns} ON {kind}{name} FROM {who};")));
    }
    findings
}

/// The functions that the consumer calls.
const CONSUMERS_FUNCTIONS: &[&str] = &[
    "key_text",
    "bounded_text",
    "amount_text",
    "local_date",
    "key_expression",
    "older_transactions_ended",
    "refresh_capture",
    "backfill",
    "attached",
    "put_in_queue",
    "canonical_id",
    "relation_parts",
    "begin_numbers_anew",
    "raise_alert",
    "resolve_alert",
    "keep_partitions",
    "look_for_alerts",
    "measure_health",
    "capture_is_whole",
    "is_published",
    "slot_name",
    "slot_statement",
    "unpublish_unidentified",
    "hold_book",
    "expected_cash",
    "pass_entry_ids",
];

/// Our functions are for our roles alone, and the consumer may call those that it needs.
pub fn function_rights(rights: &Rights, present: &[Function], side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    for FunctionGrant { name, grantee: to, is_public } in &rights.function_grants {
        if !ROLES.contains(&to.as_str()) {
            findings.push(
                Finding::warning("function_rights", name, format!("{to} may execute it, and should not"))
                    .fix(place(side), format!("REVOKE EXECUTE ON FUNCTION {name} FROM {};", grantee(to, *is_public))),
            );
        }
    }
    for function in present.iter().filter(|function| CONSUMERS_FUNCTIONS.contains(&function.name.as_str())) {
        let is_it = |grant: &FunctionGrant| grant.name == function.signature && grant.grantee == "daybook_consumer";
        if !rights.function_grants.iter().any(is_it) {
            findings.push(
                Finding::error(
                    "function_rights",
                    "daybook_consumer",
                    format!("may not execute {}", function.signature),
                )
                .fix(place(side), format!("GRANT EXECUTE ON FUNCTION {} TO daybook_consumer;", function.signature)),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each grant of the list, as the catalog would tell it.
    fn all(expected: &[Granted], schema: &str) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (roles, privileges, tables) in expected {
            for role in *roles {
                for privilege in *privileges {
                    for table in *tables {
                        let (name, column) = match table.split_once('(') {
                            Some((name, column)) => (name, Some(column.trim_end_matches(')').to_string())),
                            None => (*table, None),
                        };
                        grants.push(Grant {
                            name: format!("{schema}.{name}"),
                            column,
                            grantee: role.to_string(),
                            privilege: privilege.to_string(),
                            is_sequence: *privilege == "USAGE",
                            is_public: false,
                        });
                    }
                }
            }
        }
        grants
    }

    #[test]
    fn a_right_that_lacks_or_is_too_much_is_told_with_its_opposite() {
        let grants = all(SOURCE_GRANTS, "daybook");
        let told = |grants: Vec<Grant>| {
            let rights = Rights { grants, ..Rights::default() };
            table_rights(&rights, "daybook", Side::Source).into_iter().map(|finding| finding.fix).collect::<Vec<_>>()
        };
        assert!(told(grants.clone()).is_empty());
        let without = grants.iter().filter(|grant| grant.column.as_deref() != Some("rules")).cloned().collect();
        assert_eq!(told(without), ["GRANT UPDATE (rules) ON daybook.sync_source TO daybook_consumer;"]);
        let mut more = grants;
        let stranger = |grantee: &str, is_public, privilege: &str| Grant {
            name: "daybook.sync_queue".into(),
            grantee: grantee.into(),
            is_public,
            privilege: privilege.into(),
            ..Grant::default()
        };
        more.extend([
            stranger("PUBLIC", true, "INSERT"),
            stranger("a\"b", false, "TRUNCATE"),
            stranger("x", false, "SELECT"),
        ]);
        assert_eq!(
            told(more),
            [
                "REVOKE INSERT ON daybook.sync_queue FROM PUBLIC;",
                "REVOKE TRUNCATE ON daybook.sync_queue FROM \"a\"\"b\";"
            ]
        );
    }

    #[test]
    fn a_role_may_be_no_more_than_it_is_granted() {
        let plain = |name: &str| Role { name: name.into(), ..Role::default() };
        let of = |change: fn(&mut Role)| {
            let mut all: Vec<Role> = ROLES.map(plain).into();
            change(&mut all[1]);
            let roles_ = Roles { roles: all, ..Roles::default() };
            roles(&roles_, Side::Source).into_iter().map(|finding| finding.fix).collect::<Vec<_>>()
        };
        assert!(of(|_| ()).is_empty());
        assert_eq!(of(|role| role.is_superuser = true), ["ALTER ROLE daybook_consumer NOSUPERUSER;"]);
        assert_eq!(of(|role| role.can_login = true), ["ALTER ROLE daybook_consumer NOLOGIN;"]);
        assert!(of(|role| role.bypasses_row_security = true).is_empty(), "it may need it");
        assert_eq!(of(|role| role.name = "x".into()), ["daybook install"]);
    }
}
