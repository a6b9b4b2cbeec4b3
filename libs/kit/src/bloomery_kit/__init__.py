"""Server plumbing shared by the services, without domain nouns; import its modules."""
