"""The web pages: incidents with their steps, deadlines, timeline and evidence. They read and never change anything."""
