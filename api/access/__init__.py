"""Who may read: tokens, scopes, signed hrefs, rates, and a log of reads."""
