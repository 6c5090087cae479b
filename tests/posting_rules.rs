//! Rule files as tables: what each way to say an amount, a condition or an account makes of a row, and what is refused with its
//! line. No database.

use chrono::NaiveDate;
use daybook::posting::desired::{Circumstances, Wanted, desired, problems};
use daybook::posting::rule::{Rule, RuleSet};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// A rule of a bill with one debit and one credit line of `charged`, and whatever else is given: `amounts` before the lines.
fn rule(amounts: &str, more: &str) -> String {
    format!(
        "reference_type = \"T\"\ndate = \"day\"\n{amounts}\n[[lines]]\ndebit = \"charged\"\naccount = \"1100\"\n\
         [[lines]]\ncredit = \"charged\"\naccount = \"4000\"\n{more}"
    )
}

fn row(rules: &RuleSet, text: &str) -> Vec<Option<String>> {
    let values: Vec<(&str, &str)> = text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    let find = |name: &str| {
        let mut found = values.iter().filter(|(column, _)| *column == name);
        found.next().map(|(_, value)| value.replace('_', " "))
    };
    rules.columns().iter().map(|column| find(&column.name)).collect()
}

fn outcome(definitions: &[&str], minor_unit: u32, go_live: Option<NaiveDate>, text: &str) -> String {
    let rules = RuleSet::parse(definitions).unwrap_or_else(|(at, error)| panic!("version {at}: {error}"));
    let row = row(&rules, text);
    let circumstances = Circumstances { minor_unit, site: "main", go_live };
    let rule = match rules.version_for(&row) {
        Ok(rule) => rule,
        Err(parked) => return format!("PARKED {}", parked.reason),
    };
    match desired(rule, circumstances, &row) {
        Ok(Wanted::Nothing) => "nothing".into(),
        Ok(Wanted::OutOfScope) => "out of scope".into(),
        Err(parked) => format!("PARKED {}", parked.reason),
        Ok(Wanted::Lines(wanted)) => {
            let lines =
                wanted.lines.as_slice().iter().map(|line| format!("{} {}", line.account, line.amount.normalize()));
            let warning = wanted.warning.map(|warning| format!(" ({warning})")).unwrap_or_default();
            lines.collect::<Vec<_>>().join(", ") + &warning
        }
    }
}

#[test]
fn each_way_to_say_an_amount_reads_its_row() {
    let tax = |way: &str| {
        format!(
            "[[amounts]]\nname = \"gross\"\nfirst_of = [\"gross\"]\n[[amounts]]\nname = \"charged\"\n{way}\n\
             [[checks]]\namount = \"gross\"\nwithin = \"gross\"\n"
        )
    };
    let inside = tax("tax_inside = \"gross\"\nrate = \"21\"\nstored = \"iva\"");
    let by_column = tax("tax_inside = \"gross\"\nrate_from = \"rate\"");
    let on_top = tax("tax_on = \"gross\"\nrate = \"7.5\"");
    let rounded = tax("rounded = \"gross\"\nto = \"0.05\"");
    let differs = "(the tax in column iva differs from the rate of 21 percent)";
    let negative = "[[amounts]]\nname = \"charged\"\nfirst_of = [\"a\", \"b\"]\notherwise = \"3\"\n\
                    negative_when = [{ column = \"of\", is_null = false }, { column = \"kind\", is = [\"Refund\"], is_not = [\"sale\"], null = false }]";
    let sums = "[[amounts]]\nname = \"a\"\nfirst_of = [\"a\"]\n[[amounts]]\nname = \"b\"\nfirst_of = [\"b\"]\n\
                [[amounts]]\nname = \"c\"\nfirst_of = [\"c\"]\notherwise = \"0\"\n\
                [[amounts]]\nname = \"d\"\nsum_of = [\"a\", \"b\", \"c\"]\n[[amounts]]\nname = \"charged\"\nof = \"d\"\nminus = [\"b\", \"c\"]";
    let table = [
        (&inside, 2, "gross=121", "1100 21, 4000 -21".to_string()),
        (&inside, 2, "gross=100", "1100 17.36, 4000 -17.36".into()), // 100 - 82.64; round(82.64 × 21 %) is 17.35
        (&inside, 2, "gross=-100", "1100 -17.36, 4000 17.36".into()),
        (&inside, 2, "gross=0.03", "1100 0.01, 4000 -0.01".into()), // net 0.0248 rounds to 0.02
        (&inside, 0, "gross=100", "1100 17, 4000 -17".into()),
        (&inside, 3, "gross=100", "1100 17.355, 4000 -17.355".into()),
        (&inside, 2, "gross=121 iva=21.00", "1100 21, 4000 -21".into()),
        (&inside, 2, "gross=121 iva=20.99", format!("1100 20.99, 4000 -20.99 {differs}")),
        (&inside, 2, "gross=121 iva=NaN", "PARKED column iva holds NaN (not a number)".into()),
        (&inside, 2, "gross=999999999999999999.99", "1100 173553719008264462.81, 4000 -173553719008264462.81".into()),
        (&by_column, 2, "gross=110 rate=10", "1100 10, 4000 -10".into()),
        (&by_column, 2, "gross=110 rate=0", "nothing".into()),
        (&by_column, 2, "gross=110", "PARKED column rate holds no rate of tax".into()),
        (&by_column, 2, "gross=110 rate=-5", "PARKED column rate holds no rate of tax".into()),
        (&on_top, 2, "gross=0.60", "1100 0.05, 4000 -0.05".into()), // 0.045, half up
        (&on_top, 2, "gross=-0.60", "1100 -0.05, 4000 0.05".into()),
        (&rounded, 2, "gross=10.02", "1100 10, 4000 -10".into()),
        (
            &rounded,
            2,
            "gross=10.025",
            "PARKED column gross holds an amount with 3 decimals, where the currency has 2".into(),
        ),
        (&rounded, 2, "gross=-10.03", "1100 -10.05, 4000 10.05".into()),
        (&negative.to_string(), 2, "a=5", "1100 5, 4000 -5".into()),
        (&negative.to_string(), 2, "b=5 of=7", "1100 -5, 4000 5".into()),
        (&negative.to_string(), 2, "kind=_REFUND_", "1100 -3, 4000 3".into()),
        (&negative.to_string(), 2, "a=-5 kind=refund", "1100 5, 4000 -5".into()),
        (
            &negative.to_string(),
            2,
            "a=5 kind=barter",
            "PARKED column kind holds a text of 6 characters that the rule does not know".into(),
        ),
        (&sums.to_string(), 2, "a=1.10 b=2.20 c=3.30", "1100 1.1, 4000 -1.1".into()),
        (&sums.to_string(), 2, "a=1.10", "PARKED b: null, so there is no amount".into()),
    ];
    for (amounts, minor_unit, text, expected) in table {
        let definition = rule(amounts, "");
        assert_eq!(outcome(&[&definition], minor_unit, None, &format!("day=2024-03-05 {text}")), expected, "{text}");
    }
}

#[test]
fn conditions_dimensions_and_accounts_say_what_they_know_and_park_the_rest() {
    let charged = "[[amounts]]\nname = \"charged\"\nfirst_of = [\"a\"]";
    let status = rule(
        charged,
        "[[not_counted_when]]\ncolumn = \"s\"\nis = [\"void\", \"Draft\", \"\"]\nis_not = [\"billed\"]\n",
    );
    let default = "reference_type = \"T\"\ndate = \"day\"\n[[amounts]]\nname = \"charged\"\nfirst_of = [\"a\"]\n\
                   [[accounts.way]]\ncolumn = \"m\"\notherwise = \"1900\"\nmap = { cash = \"1000\" }\n\
                   [[lines]]\ndebit = \"charged\"\naccount_from = \"way\"\n[[lines]]\ncredit = \"charged\"\naccount = \"4000\"\n";
    let check = rule(charged, "[[checks]]\namount = \"charged\"\nat_most = \"10\"\n");
    let table = [
        (status.as_str(), "a=1 s=billed", "1100 1, 4000 -1"),
        (&status, "a=1 s=_VOID_", "nothing"),
        (&status, "a=NaN s=draft", "nothing"),
        (&status, "a=1 s=__", "nothing"),
        (&status, "a=1 s=paid", "PARKED column s holds a text of 4 characters that the rule does not know"),
        (&status, "a=1", "PARKED column s holds null that the rule does not know"),
        (default, "a=1 m=CASH", "1000 1, 4000 -1"),
        (default, "a=1 m=shells", "1900 1, 4000 -1"),
        (default, "a=1", "PARKED column m holds null that no account is mapped to"),
        (default, "a=1 m=__", "PARKED column m holds an empty text that no account is mapped to"),
        (&check, "a=-10", "1100 -10, 4000 10"),
        (&check, "a=-10.01", "PARKED charged is larger than 10"),
    ];
    for (definition, text, expected) in table {
        assert_eq!(outcome(&[definition], 2, None, &format!("day=2024-03-05 {text}")), expected, "{text}");
    }
    let rules = RuleSet::parse(&[&status]).expect("is usable");
    let circumstances = Circumstances { minor_unit: 2, site: "main", go_live: None };
    let found = problems(rules.latest(), circumstances, &row(&rules, "a=x s=paid"));
    let columns: Vec<_> = found.iter().filter_map(|problem| problem.column.as_deref()).collect();
    assert_eq!(columns, ["s", "day", "a"], "everything that is wrong is told, not only the first");
}

#[test]
fn a_bill_is_judged_by_the_version_valid_on_its_day() {
    let of = |from: &str, date: &str, account: &str| {
        format!(
            "reference_type = \"T\"\n{from}\ndate = \"{date}\"\n[[amounts]]\nname = \"charged\"\nfirst_of = [\"a\"]\n\
             [[lines]]\ndebit = \"charged\"\naccount = \"1100\"\n[[lines]]\ncredit = \"charged\"\naccount = \"{account}\"\n"
        )
    };
    let first = of("", "day", "4000");
    let second = of("valid_from = \"2024-04-01\"", "billed", "4001");
    let third = of("valid_from = \"2025-01-01\"", "billed", "4002");
    let all = [first.as_str(), second.as_str(), third.as_str()];
    let table = [
        (&all[..], "day=2024-03-31 billed=2024-03-31", "1100 1, 4000 -1"),
        (&all[..], "day=2024-03-31 billed=2024-04-01", "1100 1, 4001 -1"),
        (&all[..], "day=2024-03-31 billed=2025-01-01", "1100 1, 4002 -1"),
        (&all[..], "day=2024-03-31", "PARKED column billed is null"),
        (
            &all[1..],
            "billed=2024-03-31",
            "PARKED no version of rule T is valid on 2024-03-31; the first begins on 2024-04-01",
        ),
        (&all[..1], "day=2030-01-01", "1100 1, 4000 -1"),
    ];
    for (definitions, text, expected) in table {
        assert_eq!(outcome(definitions, 2, None, &format!("a=1 {text}")), expected, "{text}");
    }
    let twice = RuleSet::parse(&[&second, &second]).expect_err("validities do not overlap");
    assert!(twice.1.reason.contains("valid_from is not later"), "{}", twice.1);
    let day = NaiveDate::from_ymd_opt(2024, 4, 1);
    assert_eq!(outcome(&all, 2, day, "a=NaN day=2024-03-31 billed=2024-03-31"), "out of scope");
    assert_eq!(outcome(&all, 2, day, "a=1 day=2024-03-31 billed=2024-04-01"), "1100 1, 4001 -1");
}

#[test]
fn what_contradicts_itself_or_lacks_something_is_refused_with_its_line() {
    let whole = include_str!("../rules/examples/factura.toml");
    let at = |part: &str| whole[..whole.find(part).expect("is there")].lines().count() + 1;
    let table = [
        (
            whole.replace("is_not = [\"emitida\"", "is_not = [\"ANULADA\", \"emitida\""),
            at("[[not_counted_when]]"),
            "\"anulada\" stands in is and in is_not",
        ),
        (
            whole.replace("tax_inside = \"total\"", "tax_inside = \"totl\""),
            at("[[amounts]]\nname = \"tax\""),
            "amount totl is not defined above its use",
        ),
        (whole.replace("rate = \"21\"", "rate = \"21 %\""), at("[[amounts]]\nname = \"tax\""), "rate is percent"),
        (whole.replace("rate = \"21\"", ""), at("[[amounts]]\nname = \"tax\""), "either rate or rate_from"),
        (
            whole.replace("of = \"total\"\nminus", "of = \"total\"\nsum_of = [\"tax\"]\nminus"),
            at("[[amounts]]\nname = \"net\""),
            "exactly one of",
        ),
        (
            whole.replace("minus = \"tax\"", "minus = \"tax\"\notherwise = \"0\""),
            at("[[amounts]]\nname = \"net\""),
            "otherwise goes with first_of",
        ),
        (
            whole.replace("credit = \"net\"", "credit = \"total\""),
            at("[[amounts]]\nname = \"net\""),
            "amount net is used by no line",
        ),
        (
            whole.replace("column = \"borrada_el\"\n", "column = \"borrada_el\"\nis = [\"x\"]\n"),
            at("[[not_counted_when]]\ncolumn = \"borrada_el\""),
            "either is_null, or is",
        ),
        (whole.replace("within = \"total\"", "").replace("sign_of = \"total\"", ""), at("[[checks]]"), "says nothing"),
        (
            whole.replace("account = \"477\"", "account = \"47 7\""),
            at("[[lines]]\ncredit = \"tax\""),
            "no account code",
        ),
        (
            whole.replace("credit = \"tax\"", "debit = \"tax\"").replace("credit = \"net\"", "debit = \"net\""),
            at("[[lines]]"),
            "a debit line and a credit line",
        ),
        (whole.replace("\"FACTURA\"", "\"Factura\""), 2, "is not usable"),
        (whole.replace("time_zone", "valid_from"), 5, "is no day"),
        (whole.replace("date = \"emitida_el\"", "date = \"\""), at("date = "), "a column has no name"),
        (whole.replace("party", "partie"), at("[[party]]"), "unknown field `partie`"),
        (whole.replace("prefix", "= prefix"), at("prefix"), ""),
    ];
    for (definition, line, part) in table {
        let error = Rule::parse(&definition).expect_err(part);
        assert!(error.reason.contains(part), "{part}: {error}");
        // The place of a table is its header, or its first key.
        assert!(error.line.abs_diff(line) <= 1, "{part}: line {} instead of {line}", error.line);
    }
}

proptest! {
    /// tax = gross - round half up(gross × 100 / (100 + rate)), to the last digit, by other arithmetic.
    #[test]
    fn tax_inside_the_price_is_what_the_formula_says(cents in -1_000_000_000_000_i64..1_000_000_000_000, rate in 0_u32..10_000) {
        let amounts = format!(
            "[[amounts]]\nname = \"gross\"\nfirst_of = [\"a\"]\n[[amounts]]\nname = \"charged\"\ntax_inside = \"gross\"\nrate = \"{}.{:02}\"\n",
            rate / 100, rate % 100
        );
        let rules = RuleSet::parse(&[&rule(&amounts, "")]).expect("is usable");
        let gross = Decimal::new(cents, 2);
        let row = row(&rules, &format!("day=2024-03-05 a={gross}"));
        let wanted = desired(rules.latest(), Circumstances { minor_unit: 2, site: "main", go_live: None }, &row).expect("is read");
        let tax = match wanted {
            Wanted::Lines(wanted) => wanted.lines.as_slice()[0].amount,
            _ => Decimal::ZERO,
        };
        // net is the whole number of cents nearest to gross × 10000 / (10000 + rate): twice the distance is no more than one.
        let net = cents - i64::try_from(tax.mantissa() * 10_i128.pow(2 - tax.scale())).expect("is small");
        let distance = i128::from(net) * i128::from(10_000 + rate) - i128::from(cents) * 10_000;
        prop_assert!(2 * distance.abs() <= i128::from(10_000 + rate));
        if 2 * distance.abs() == i128::from(10_000 + rate) {
            prop_assert_eq!(distance.signum(), i128::from(cents.signum()), "halves go away from zero");
        }
    }
}
