"""Info records, and the pages that are made from them: one file of HTML each."""
