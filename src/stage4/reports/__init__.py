"""Documents for people and auditors: the runbooks, and the filled-in playbook of an incident."""
