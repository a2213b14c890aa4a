"""Published lists: fetch them and turn them into rows."""
