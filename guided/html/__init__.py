"""Objects as HTML in a notebook, and what they share with the pages of reports."""
