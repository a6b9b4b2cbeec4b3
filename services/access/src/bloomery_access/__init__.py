"""Who may do what: tokens, members of projects, and an issuer of identities."""
