"""What engines share: children, paces, answers that are paid for, numbers among options."""
