"""Published tables, reproduced with our predictors beside them."""
