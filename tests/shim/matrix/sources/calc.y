%{
int yylex(void);
void yyerror(const char *);
%}
%token N
%%
s: N '+' N ;
