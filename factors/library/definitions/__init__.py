"""The catalogue of factors, what each agrees with, and how many are distinct."""
