"""The command line, and the only room that joins the three programs."""
