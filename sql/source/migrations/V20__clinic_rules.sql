-- Purpose: what a clinic wants to be told of bills that are right, and not as they should be: findings of severity warning, by each full
-- reconciliation. A row is valid for bills from its day on, until the day of the next one of the same rule.
-- receivable_overdue: owed for more than so many days after the bill's date. draft_overdue: without invoice number for more than so many.
-- tax_differs: the stored tax is not that of the rate. discount_missing: a discount was given, and there is no discounted amount.
CREATE TABLE daybook.clinic_rules (
    clinic_rule text NOT NULL CHECK (clinic_rule IN ('receivable_overdue', 'draft_overdue', 'tax_differs', 'discount_missing')),
    valid_from  date NOT NULL DEFAULT '-infinity' CHECK (valid_from < 'infinity'),
    is_enabled  boolean NOT NULL DEFAULT true,
    days        integer CHECK (days BETWEEN 0 AND 36500),
    PRIMARY KEY (clinic_rule, valid_from),
    CONSTRAINT what_is_overdue_has_days CHECK ((clinic_rule IN ('receivable_overdue', 'draft_overdue')) = (days IS NOT NULL))
);

INSERT INTO daybook.clinic_rules (clinic_rule, days) VALUES
    ('receivable_overdue', 7), ('draft_overdue', 5), ('tax_differs', NULL), ('discount_missing', NULL);
