from .lca import encode as encode, violation as violation
from .linked import LinkedDictionaries as LinkedDictionaries
