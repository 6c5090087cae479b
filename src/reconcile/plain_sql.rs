//! What a bill table should amount to, in plain SQL: written from the rule file and the meaning of its words, and sharing nothing with the
//! posting code but the file. What cannot be told of a row (an unknown word, no amount) is null here. Pure.

use crate::capture::Table;
use crate::database::{quote_identifier, quote_literal};
use crate::posting::rule_file::{AccountChoice, Amount, Condition, RuleFile};

/// Types by their OIDs, as far as it matters here.
const NUMBERS: [u32; 4] = [20, 21, 23, 1700]; // bigint, smallint, integer, numeric
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;

/// One version of a rule as SQL about a row `bill`. Amounts and accounts stand in the order of the rule file.
pub(super) struct PlainRule {
    /// Laterals that name the amounts `a.<name>`: `a0.v`, `a1.v` and so on.
    pub amounts: Vec<String>,
    /// Whether the row counts; null where the rule does not know a word.
    pub counts: String,
    pub day: String,
    pub site: String,
    /// The choices of accounts, by name.
    pub choices: Vec<(String, String)>,
    pub lines: Vec<PlainLine>,
    pub valid_from: Option<String>,
    /// Whether the row is a draft: it does not count, since something is missing.
    pub is_draft: Option<String>,
    /// Whether it has a discount and no discounted amount.
    pub lacks_discount: Option<String>,
}

/// A line: plus or minus an amount, on an account or on the one that a choice leads to.
pub(super) struct PlainLine {
    pub amount: usize,
    pub is_credit: bool,
    pub account: Result<String, usize>,
}

/// What the SQL depends on besides the rule.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub table: &'a Table,
    pub book_zone: &'a str,
    pub source_name: &'a str,
    /// Decimals of the currency.
    pub minor_unit: u32,
    pub texts: &'a Texts,
}

/// How the source's database trims texts and lowers their case as the posting function does: by Unicode, whatever the locale of the
/// database or the collation of a column, which may hold an I for a capital of another letter or words of any case for equal.
#[derive(Debug)]
pub(super) struct Texts {
    /// What is no part of a word at its ends, as a literal.
    blanks: String,
    collation: String,
}

impl Texts {
    /// Of a database with this encoding, and with this of PostgreSQL's own collations that know Unicode. Without such a one the
    /// database's has to do, and is right for words in ASCII in nearly every locale.
    pub fn of_database(encoding: &str, unicode_collation: Option<&str>) -> Texts {
        let is_there = |blank: &char| blank.is_whitespace() && (encoding == "UTF8" || blank.is_ascii());
        let blanks: String = ('\0'..='\u{3000}').filter(is_there).collect();
        Texts {
            blanks: quote_literal(&blanks),
            collation: format!("pg_catalog.{}", quote_identifier(unicode_collation.unwrap_or("default"))),
        }
    }
}

/// Writes one version; what is wrong with its file is an error in one line.
pub(super) fn plain_rule(definition: &str, of: Surroundings<'_>) -> Result<PlainRule, String> {
    let file: RuleFile = toml::from_str(definition).map_err(|error| error.message().replace('\n', " "))?;
    let writer = Writer { of, file: &file };
    let names: Vec<&str> = file.amounts.iter().map(|amount| amount.get_ref().name.as_str()).collect();
    let index = |name: &str| names.iter().position(|of| *of == name).ok_or_else(|| format!("amount {name} is unknown"));
    let amounts: Result<Vec<String>, String> =
        file.amounts.iter().map(|amount| writer.amount(amount.get_ref(), &index)).collect();
    let choices: Vec<(String, String)> = file
        .accounts
        .iter()
        .map(|(name, steps)| (name.clone(), writer.choice(steps.iter().map(|step| step.get_ref()))))
        .collect();
    let mut lines = Vec::new();
    for line in file.lines.iter().map(|line| line.get_ref()) {
        let (amount, is_credit) = match (&line.debit, &line.credit) {
            (Some(amount), _) => (amount, false),
            (None, Some(amount)) => (amount, true),
            (None, None) => return Err("a line has neither debit nor credit".into()),
        };
        let account = match (&line.account, &line.account_from) {
            (Some(account), _) => Ok(account.clone()),
            (None, Some(from)) => {
                let at = choices.iter().position(|(name, _)| name == from);
                Err(at.ok_or_else(|| format!("accounts.{from} is unknown"))?)
            }
            (None, None) => return Err("a line has no account".into()),
        };
        lines.push(PlainLine { amount: index(amount)?, is_credit, account });
    }
    Ok(PlainRule {
        amounts: amounts?,
        counts: writer.counts(),
        day: writer.day(),
        site: writer.site(),
        choices,
        lines,
        valid_from: file.valid_from.as_ref().map(|day| day.get_ref().clone()),
        is_draft: writer.is_draft(),
        lacks_discount: file.discount.as_ref().map(|discount| {
            let (given, result) = (&discount.get_ref().given, &discount.get_ref().result);
            format!("({} <> 0) AND {} IS NULL AND ({}) IS TRUE", writer.number(given), column(result), writer.counts())
        }),
    })
}

struct Writer<'a> {
    of: Surroundings<'a>,
    file: &'a RuleFile,
}

fn column(name: &str) -> String {
    format!("bill.{}", quote_identifier(name))
}

fn words(of: &[String]) -> String {
    let words: Vec<String> = of.iter().map(|word| quote_literal(&word.trim().to_lowercase())).collect();
    if words.is_empty() { "NULL".into() } else { words.join(", ") }
}

impl Writer<'_> {
    fn trimmed(&self, text: &str) -> String {
        let Texts { blanks, collation } = self.of.texts;
        format!("btrim({text} COLLATE {collation}, {blanks})")
    }

    /// A column's text in the form in which words are compared.
    fn word(&self, name: &str) -> String {
        format!("lower({})", self.trimmed(&format!("{}::text", column(name))))
    }

    fn type_of(&self, name: &str) -> u32 {
        let Table { columns, column_types, .. } = self.of.table;
        columns.iter().position(|column| column == name).map_or(0, |at| column_types[at])
    }

    fn day(&self) -> String {
        let name = self.file.date.get_ref();
        let zone = self.file.time_zone.as_ref().map_or(self.of.book_zone, |zone| zone.get_ref());
        match self.type_of(name) {
            DATE => column(name),
            TIMESTAMP => format!("{}::date", column(name)),
            _ => format!("timezone({}, {})::date", quote_literal(zone), column(name)),
        }
    }

    fn site(&self) -> String {
        let fixed = quote_literal(self.file.site.as_deref().unwrap_or(self.of.source_name));
        match &self.file.site_from {
            Some(name) => {
                let site = self.trimmed(&format!("{}::text", column(name.get_ref())));
                format!("coalesce(nullif({site}, ''), {fixed})")
            }
            None => fixed,
        }
    }

    /// A number of a column; null where it holds none.
    fn number(&self, name: &str) -> String {
        if NUMBERS.contains(&self.type_of(name)) {
            return format!("{}::numeric", column(name));
        }
        let text = self.trimmed(&format!("daybook.amount_text({})", column(name)));
        format!("CASE WHEN {text} ~ '^-?[0-9]+([.][0-9]+)?$' THEN {text}::numeric END")
    }

    fn holds(&self, condition: &Condition) -> String {
        let Condition { column: name, is_null, is, is_not, null } = condition;
        if let Some(is_null) = is_null {
            return format!("({} IS {}NULL)", column(name), if *is_null { "" } else { "NOT " });
        }
        let of_null = match (null, is_not) {
            (Some(holds), _) => holds.to_string(),
            (None, Some(_)) => "NULL".into(),
            (None, None) => "false".into(),
        };
        let unknown = match is_not {
            Some(is_not) => format!(" WHEN {} IN ({}) THEN false ELSE NULL END", self.word(name), words(is_not)),
            None => " ELSE false END".into(),
        };
        let is = words(is.as_deref().unwrap_or_default());
        format!(
            "CASE WHEN {} IS NULL THEN {of_null} WHEN {} IN ({is}) THEN true{unknown}",
            column(name),
            self.word(name)
        )
    }

    fn counts(&self) -> String {
        let conditions = self.file.not_counted_when.iter().map(|condition| self.holds(condition.get_ref()));
        let cases: String =
            conditions.map(|holds| format!(" WHEN ({holds}) IS NULL THEN NULL WHEN {holds} THEN false")).collect();
        if cases.is_empty() { "true".into() } else { format!("CASE{cases} ELSE true END") }
    }

    fn is_draft(&self) -> Option<String> {
        let conditions = self.file.not_counted_when.iter().map(|condition| condition.get_ref());
        let missing =
            conditions.filter(|condition| condition.is_null == Some(true)).map(|condition| self.holds(condition));
        let missing = missing.collect::<Vec<_>>().join(" OR ");
        Some(format!("({missing})")).filter(|_| !missing.is_empty())
    }

    /// The opposite sign where one of the amount's conditions holds.
    fn signed(&self, amount: &Amount, value: String) -> String {
        let cases: String = amount
            .negative_when
            .iter()
            .map(|condition| format!(" WHEN ({0}) IS NULL THEN NULL WHEN {0} THEN -({value})", self.holds(condition)))
            .collect();
        if cases.is_empty() { value } else { format!("CASE{cases} ELSE {value} END") }
    }

    fn amount(&self, amount: &Amount, index: &dyn Fn(&str) -> Result<usize, String>) -> Result<String, String> {
        let above = |name: &String| Ok::<String, String>(format!("a{}.v", index(name)?));
        let unit = self.of.minor_unit;
        let Amount {
            first_of,
            otherwise,
            of,
            minus,
            sum_of,
            tax_inside,
            tax_on,
            rate,
            rate_from,
            stored,
            rounded,
            to,
            ..
        } = amount;
        if let Some(columns) = first_of {
            // The first that is not null, even if it holds no number.
            let cases: String = columns
                .iter()
                .map(|name| format!(" WHEN {} IS NOT NULL THEN {}", column(name), self.number(name)))
                .collect();
            let value = format!("CASE{cases} ELSE {} END", otherwise.as_deref().unwrap_or("NULL"));
            return Ok(self.signed(amount, format!("({value})::numeric")));
        }
        if let (Some(of), Some(minus)) = (of, minus) {
            let minus: Result<Vec<String>, String> = minus.as_slice().iter().map(above).collect();
            return Ok(format!("{} - ({})", above(of)?, minus?.join(" + ")));
        }
        if let Some(names) = sum_of {
            let names: Result<Vec<String>, String> = names.iter().map(above).collect();
            return Ok(names?.join(" + "));
        }
        if let (Some(of), Some(to)) = (rounded, to) {
            return Ok(half_up(&above(of)?, to, to));
        }
        let rate = match (rate, rate_from) {
            (Some(rate), _) => rate.clone(),
            (None, Some(name)) => self.number(name),
            (None, None) => return Err(format!("amount {} comes from nothing", amount.name)),
        };
        let smallest = format!("0.{}1", "0".repeat(unit.saturating_sub(1) as usize));
        let smallest = if unit == 0 { "1".to_string() } else { smallest };
        let computed = match (tax_inside, tax_on) {
            (Some(gross), _) => {
                let gross = above(gross)?;
                format!(
                    "{gross} - {}",
                    half_up(&format!("({gross} * 100)"), &format!("((100 + {rate}) * {smallest})"), &smallest)
                )
            }
            (None, Some(net)) => {
                half_up(&format!("({} * {rate})", above(net)?), &format!("(100 * {smallest})"), &smallest)
            }
            (None, None) => return Err(format!("amount {} comes from nothing", amount.name)),
        };
        Ok(match stored {
            Some(name) => {
                format!(
                    "CASE WHEN {} IS NULL THEN {computed} ELSE {} END",
                    column(name),
                    self.signed(amount, self.number(name))
                )
            }
            None => computed,
        })
    }

    fn choice<'s>(&self, steps: impl DoubleEndedIterator<Item = &'s AccountChoice>) -> String {
        let mut next = "NULL".to_string();
        for step in steps.rev() {
            let target = |target: &Option<String>| match target.as_deref() {
                Some("next") => next.clone(),
                Some(account) => quote_literal(account),
                None => "NULL".into(),
            };
            let mapped: String = step
                .map
                .iter()
                .map(|(value, to)| {
                    format!(" WHEN {} THEN {}", quote_literal(&value.trim().to_lowercase()), target(&Some(to.clone())))
                })
                .collect();
            let mapped = match mapped.is_empty() {
                true => target(&step.otherwise),
                false => format!("CASE {}{mapped} ELSE {} END", self.word(&step.column), target(&step.otherwise)),
            };
            next = format!(
                "CASE WHEN {column} IS NULL THEN {null} WHEN {word} = '' THEN {empty} ELSE {mapped} END",
                column = column(&step.column),
                word = self.word(&step.column),
                null = target(&step.null),
                empty = target(&step.empty),
            );
        }
        next
    }
}

/// How often `divisor` goes into `dividend`, halves away from zero, times `unit`: exactly, in whole numbers, since a quotient that was
/// cut short may look like a half.
fn half_up(dividend: &str, divisor: &str, unit: &str) -> String {
    format!("sign({dividend}) * div(2 * abs({dividend}) + {divisor}, 2 * {divisor}) * {unit}")
}
