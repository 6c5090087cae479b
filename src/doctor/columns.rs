//! Attached tables: whether each still fits its key and its rule, and the rule the chart of accounts. Pure.

use super::facts::{Attached, KeyColumn, RuleFacts};
use super::finding::{Finding, Place};
use super::tables::{attach, each, reconcile, subject};
use crate::capture::fit::Misfit;
use crate::database::{quote_identifier, quote_literal};
use crate::posting::rule::RuleSet;

/// The key is unique, not null, and of the types that it had.
pub fn keys(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let error = |problem: String| Finding::error("keys", subject(table), problem);
        let mut findings = Vec::new();
        let name = &table.name;
        for KeyColumn { column, attached_type, present_type, is_same_type, is_not_null, can_be_key } in &table.keys {
            let quoted = quote_identifier(column);
            if !can_be_key {
                findings.push(
                    error(format!("key column {column} is of type {present_type} now, whose values have no one text that names them"))
                        .fix(Place::Source, format!(
                            "ALTER TABLE {name} ALTER COLUMN {quoted} TYPE {attached_type} USING {quoted}::{attached_type};"
                        )),
                );
            } else if !is_same_type {
                findings.push(
                    Finding::warning("keys", subject(table), format!(
                        "key column {column} was {attached_type} when it was attached, and is {present_type}: it is captured without \
                         keys, and reconciled each time, until that is taken up (`daybook run` does, at the next change)"
                    ))
                    .fix(Place::Source, format!(
                        "SELECT daybook.refresh_capture({});\n{}",
                        quote_literal(&table.reference_type),
                        reconcile(table)
                    )),
                );
            }
            if !is_not_null {
                findings.push(
                    error(format!("key column {column} may be null: such a row has no name"))
                        .fix(Place::Source, format!("ALTER TABLE {name} ALTER COLUMN {quoted} SET NOT NULL;")),
                );
            }
        }
        if !table.has_unique_index && table.keys.len() == table.key_columns.len() {
            let columns: Vec<String> = table.key_columns.iter().map(|name| quote_identifier(name)).collect();
            findings.push(
                error(format!(
                    "no unique index covers its key ({}): two rows may be one bill",
                    table.key_columns.join(", ")
                ))
                .fix(Place::Source, format!("ALTER TABLE {name} ADD UNIQUE ({});", columns.join(", "))),
            );
        }
        findings
    })
}

/// What the rule maps is there, watched and harmless to read.
pub fn columns(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| match &table.rule {
        RuleFacts::InForce { rules, misfits } => of_columns(table, rules, misfits),
        _ => Vec::new(),
    })
}

fn of_columns(table: &Attached, rules: &RuleSet, misfits: &[(Misfit, String)]) -> Vec<Finding> {
    let renamed = new_name(table);
    let present = |names: &[String]| -> Vec<String> {
        names.iter().filter(|name| table.columns.contains(name)).cloned().collect()
    };
    let key_gone = misfits.iter().find_map(|(misfit, told)| match misfit {
        Misfit::KeyGone(name) => Some((name, told)),
        _ => None,
    });
    // Everything that is watched now, or mapped; and what is mapped by another name yet.
    let mut filter = present(&table.filter_columns);
    for name in rules.columns().iter().map(|column| &column.name).chain(renamed.filter(|_| key_gone.is_none())) {
        if table.columns.contains(name) && !filter.contains(name) {
            filter.push(name.clone());
        }
    }
    let attach_again = |key: &[String]| attach(table, &table.name, key, &filter);
    let error = |problem: String| Finding::error("columns", subject(table), problem);
    let now_called = renamed.map(|name| format!(" (it may be called {name} now)")).unwrap_or_default();

    let mut findings = Vec::new();
    if let Some((gone, told)) = key_gone {
        let new = renamed.cloned().unwrap_or("NEW_NAME".into());
        let key = table.key_columns.iter().map(|name| if name == gone { new.clone() } else { name.clone() });
        let key: Vec<String> = key.collect();
        findings.push(error(format!("{told}{now_called}")).fix(Place::Source, attach_again(&key)));
    }
    for (misfit, told) in misfits {
        if let Misfit::Unsafe(name) = misfit {
            let column = quote_identifier(name);
            let retype = format!("ALTER TABLE {} ALTER COLUMN {column} TYPE text USING {column}::text;", table.name);
            findings.push(error(told.clone()).fix(Place::Source, retype));
        }
    }
    for (misfit, told) in misfits {
        if let Misfit::CodeInPlans(name) = misfit {
            findings.push(error(told.clone()).fix(Place::Source, format!("ALTER {name} OWNER TO CURRENT_USER;")));
        }
    }
    let not_watched = misfits.iter().find(|(misfit, _)| matches!(misfit, Misfit::NotWatched(_)));
    let mapped_gone = misfits.iter().find(|(misfit, _)| matches!(misfit, Misfit::MappedGone(_)));
    if key_gone.is_none() {
        let problem = match (not_watched, mapped_gone, renamed) {
            (Some((_, told)), _, _) => Some(told.clone()),
            (None, Some(_), Some(new)) => {
                Some(format!("changes of column {new}, which has a new name, leave no event"))
            }
            _ => None,
        };
        if let Some(problem) = problem {
            findings.push(error(problem).fix(Place::Source, attach_again(&present(&table.key_columns))));
        }
    }
    if let Some((_, told)) = mapped_gone {
        let file = format!("{}.toml", table.reference_type.to_lowercase());
        let show = match rules.versions() {
            [_] => format!("daybook rules show {} > {file} && ", table.reference_type),
            _ => String::new(), // every version of it is a file of its own
        };
        let apply = format!("{show}${{EDITOR:-vi}} {file} && daybook rules apply --replace {file}");
        findings.push(error(format!("{told}{now_called}")).fix(Place::Shell, apply));
    }
    findings
}

/// A column that was renamed, where it is plain: a privilege stays with its column, so this one was attached by another name.
fn new_name(table: &Attached) -> Option<&String> {
    let is_stranger = |name: &&String| !table.key_columns.contains(name) && !table.filter_columns.contains(name);
    let mut strangers = table.granted_columns.iter().filter(is_stranger);
    match (strangers.next(), strangers.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// A rule is in force, and can be understood.
pub fn rules(tables: &[Attached], is_built_in: impl Fn(&str) -> bool) -> Vec<Finding> {
    each(tables, |table| {
        let of = &table.reference_type;
        let file = format!("{}.toml", of.to_lowercase());
        let error = |problem: String| Finding::error("rules", subject(table), problem);
        match &table.rule {
            RuleFacts::None => {
                let fix = match is_built_in(of) {
                    true => format!("daybook rules show --built-in {of} > {file} && daybook rules apply {file}"),
                    false => format!("daybook rules apply {file} # after writing it"),
                };
                vec![
                    error(format!("no rule {of} is in force in the book, so that its bills are not posted"))
                        .fix(Place::Shell, fix),
                ]
            }
            RuleFacts::Unusable(problem) => {
                let fix = match is_built_in(of) {
                    true => {
                        format!("daybook rules show --built-in {of} > {file} && daybook rules apply --replace {file}")
                    }
                    false => format!("daybook rules apply --replace {file} # after correcting it"),
                };
                vec![error(format!("the rule in force cannot be used: {problem}")).fix(Place::Shell, fix)]
            }
            RuleFacts::Unknown | RuleFacts::InForce { .. } => Vec::new(),
        }
    })
}

/// Every account that a rule may post to is in the chart. `known`: accounts that daybook ships, as lines of CSV.
pub fn accounts(tables: &[Attached], chart: &[String], book: &str, known: &str) -> Vec<Finding> {
    each(tables, |table| {
        let RuleFacts::InForce { rules, .. } = &table.rule else {
            return Vec::new();
        };
        let mut missing: Vec<&str> = rules.versions().iter().flat_map(|rule| rule.accounts()).collect();
        missing.retain(|account| !chart.iter().any(|there| there == account));
        missing.sort_unstable();
        missing.dedup();
        let finding = |account: &str| {
            let problem = format!(
                "its rule posts to account {account}, which is not in the chart of book {book}: such bills are parked"
            );
            let finding = Finding::error("accounts", subject(table), problem.clone());
            match known.lines().skip(1).find(|line| line.split(',').next() == Some(account)) {
                Some(line) => {
                    let value = |text: &str| if text.is_empty() { "NULL".to_string() } else { quote_literal(text) };
                    let values: Vec<String> = line.split(',').map(value).collect();
                    finding.fix(Place::Ledger, format!(
                        "INSERT INTO ledger.accounts (book, account_code, account_name, account_type, account_role, counted_as) VALUES ({}, {}) ON CONFLICT DO NOTHING;",
                        quote_literal(book),
                        values.join(", ")
                    ))
                }
                // Its type is an accountant's to say.
                None => finding.fix(Place::Shell, format!(
                    "printf 'account_code,account_name,account_type\\n{account},Account {account},income\\n' > account.csv && \
                     ${{EDITOR:-vi}} account.csv && daybook accounts import account.csv"
                )),
            }
        };
        missing.into_iter().map(finding).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting() -> Attached {
        let key = KeyColumn {
            column: "id".into(),
            attached_type: "bigint".into(),
            present_type: "bigint".into(),
            is_same_type: true,
            is_not_null: true,
            can_be_key: true,
        };
        Attached {
            reference_type: "LAB".into(),
            name: "lab".into(),
            is_there: true,
            key_columns: vec!["id".into()],
            keys: vec![key],
            has_unique_index: true,
            ..Attached::default()
        }
    }

    #[test]
    fn a_key_that_no_longer_names_rows_is_told() {
        let with = |change: fn(&mut KeyColumn)| {
            let mut table = fitting();
            table.keys.iter_mut().for_each(change);
            table
        };
        let table = [
            (fitting(), ""),
            (with(|key| key.is_not_null = false), "ALTER TABLE lab ALTER COLUMN \"id\" SET NOT NULL;"),
            (
                with(|key| key.is_same_type = false),
                "SELECT daybook.refresh_capture('LAB');\nSELECT daybook.reconcile('lab');",
            ),
            (
                with(|key| key.can_be_key = false),
                "ALTER TABLE lab ALTER COLUMN \"id\" TYPE bigint USING \"id\"::bigint;",
            ),
            (Attached { has_unique_index: false, ..fitting() }, "ALTER TABLE lab ADD UNIQUE (\"id\");"),
            // A key that is gone is told by its column.
            (Attached { has_unique_index: false, keys: Vec::new(), ..fitting() }, ""),
        ];
        for (table, fix) in table {
            let fixes: String = keys(std::slice::from_ref(&table)).into_iter().map(|finding| finding.fix).collect();
            assert_eq!(fixes, fix, "{table:?}");
        }
    }

    #[test]
    fn a_table_without_a_usable_rule_is_told_how_to_get_one() {
        let table = [
            (RuleFacts::Unknown, true, ""),
            (RuleFacts::None, true, "daybook rules show --built-in LAB > lab.toml && daybook rules apply lab.toml"),
            (RuleFacts::None, false, "daybook rules apply lab.toml # after writing it"),
            (
                RuleFacts::Unusable("line 1: it".into()),
                true,
                "daybook rules show --built-in LAB > lab.toml && daybook rules apply --replace lab.toml",
            ),
        ];
        for (rule, is_built_in, fix) in table {
            let attached = Attached { rule, ..fitting() };
            let fixes: String = rules(std::slice::from_ref(&attached), |_| is_built_in)
                .into_iter()
                .map(|finding| finding.fix)
                .collect();
            assert_eq!(fixes, fix, "{attached:?}");
        }
    }
}
