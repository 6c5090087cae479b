//! Whether an attached table, as it is at present, can be read by its rule; and where not, why. Pure.

use tokio_postgres::Row;

use crate::database::quote_literal;
use crate::posting::rule::{MappedColumn, RuleSet};

/// What `sql/consume/table_definition.sql` tells of an attached table and its columns.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    pub reference_type: String,
    pub relation_name: String,
    pub relation_exists: bool,
    pub key_columns: Vec<String>,
    pub filter_columns: Vec<String>,
    /// Those that the table has now.
    pub columns: Vec<String>,
    /// Those of them that cannot be read without running code of the application's.
    pub unsafe_columns: Vec<String>,
    /// Functions of the application's that run whenever a query of the table is planned.
    pub code_in_plans: Vec<String>,
}

/// One thing that keeps the rule from reading the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    Dropped,
    KeyGone(String),
    Unsafe(String),
    /// A function of the application's that an index, say, calls.
    CodeInPlans(String),
    MappedGone(String),
    /// The rule maps it, and its changes leave no event.
    NotWatched(String),
}

impl Definition {
    pub fn of(row: &Row) -> Definition {
        Definition {
            reference_type: row.get("reference_type"),
            relation_name: row.get("relation_name"),
            relation_exists: row.get("relation_exists"),
            key_columns: row.get("key_columns"),
            filter_columns: row.get("filter_columns"),
            columns: row.get("columns"),
            unsafe_columns: row.get("unsafe_columns"),
            code_in_plans: row.get("code_in_plans"),
        }
    }

    /// Everything that keeps these rules from reading it, the gravest first.
    pub fn misfits(&self, rules: &RuleSet) -> Vec<Misfit> {
        if !self.relation_exists {
            return vec![Misfit::Dropped];
        }
        let mut misfits = Vec::new();
        let gone = self.key_columns.iter().filter(|name| !self.columns.contains(name));
        misfits.extend(gone.cloned().map(Misfit::KeyGone));
        misfits.extend(self.code_in_plans.iter().cloned().map(Misfit::CodeInPlans));
        let mapped = rules.columns().iter().map(|column| &column.name);
        for name in self.key_columns.iter().chain(mapped).filter(|name| self.unsafe_columns.contains(name)) {
            let misfit = Misfit::Unsafe(name.clone());
            if !misfits.contains(&misfit) {
                misfits.push(misfit);
            }
        }
        for MappedColumn { name, .. } in rules.columns() {
            let misfit = if !self.columns.contains(name) {
                Misfit::MappedGone(name.clone())
            } else if !self.filter_columns.contains(name) && !self.key_columns.contains(name) {
                Misfit::NotWatched(name.clone())
            } else {
                continue;
            };
            if !misfits.contains(&misfit) {
                misfits.push(misfit);
            }
        }
        misfits
    }

    /// One line for a person, with what to do.
    pub fn explain(&self, misfit: &Misfit) -> String {
        let Definition { relation_name, reference_type, .. } = self;
        match misfit {
            Misfit::Dropped => format!(
                "{relation_name} was dropped. Its events wait. Put it back under that name and attach it, or give it up: \
                 SELECT daybook.detach(relation, discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = {}",
                quote_literal(reference_type)
            ),
            Misfit::KeyGone(name) => format!(
                "key column {name} of {relation_name} is gone. Its events wait. If it was renamed, attach the table again \
                 with the new name: SELECT daybook.attach({}, {}, ...)",
                quote_literal(relation_name),
                quote_literal(reference_type)
            ),
            Misfit::Unsafe(name) => format!(
                "column {name} of {relation_name} has a type of the application's own, and reading it could run the \
                 application's code with daybook's rights. Its events wait. Give it a type of PostgreSQL's, or an enum without \
                 casts"
            ),
            Misfit::CodeInPlans(name) => format!(
                "an index, a statistics object or a partition of {relation_name} calls {name}, code of the application's own, which \
                 PostgreSQL may run with daybook's rights whenever the table is read. Its events wait. Look at what it does, and let a \
                 superuser own it: ALTER {name} OWNER TO CURRENT_USER; or drop what calls it"
            ),
            Misfit::MappedGone(name) => format!(
                "column {name} of {relation_name} is gone, and rule {reference_type} maps it. Its events wait, nothing is \
                 lost. Put the column back under that name, or change the rule"
            ),
            Misfit::NotWatched(name) => format!(
                "rule {reference_type} maps column {name} of {relation_name}, which is not among its filter columns, so \
                 that its changes leave no event. Its events wait. Attach the table again with {name} in filter_columns"
            ),
        }
    }
}
