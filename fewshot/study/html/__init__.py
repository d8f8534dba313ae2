"""The report of studies as one HTML page that needs no network, no script and no other file.

Each section has a module that turns results into the plain values that its template shows.
"""
