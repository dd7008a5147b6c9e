(* Theorems on lists. *)
Require Import List.
Import ListNotations.

(* task: The list of 1 and 2 has the length 2.
   wrong: simpl.
   pass_rate: 0.25
   difficulty: medium *)
Theorem length_two : length [1; 2] = 2.
Proof.
  reflexivity.
Qed.

(* task: Appending to the empty list changes nothing.
   wrong: intros A l.
   pass_rate: 0.25
   difficulty: medium *)
Theorem nil_append : forall (A : Type) (l : list A), [] ++ l = l.
Proof.
  intros A l.
  reflexivity.
Qed.

(* task: Appending the empty list changes nothing.
   wrong: intros A l. reflexivity.
   wrong: intros A l. simpl. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem append_nil : forall (A : Type) (l : list A), l ++ [] = l.
Proof.
  intros A l.
  induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Appending is associative.
   wrong: intros A a b c. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem append_associates : forall (A : Type) (a b c : list A), a ++ (b ++ c) = (a ++ b) ++ c.
Proof.
  intros A a b c.
  induction a as [| x a IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: The length of two lists together is the sum of their lengths.
   wrong: intros A a b. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem length_append : forall (A : Type) (a b : list A), length (a ++ b) = length a + length b.
Proof.
  intros A a b.
  induction a as [| x a IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Mapping a function over a list keeps its length.
   wrong: intros A B f l. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem length_mapped : forall (A B : Type) (f : A -> B) (l : list A), length (map f l) = length l.
Proof.
  intros A B f l.
  induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Mapping over two lists together is mapping over each of them.
   wrong: intros A B f a b. simpl. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem map_append : forall (A B : Type) (f : A -> B) (a b : list A), map f (a ++ b) = map f a ++ map f b.
Proof.
  intros A B f a b.
  induction a as [| x a IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Mapping twice is mapping once with both functions.
   wrong: intros A B C f g l. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem map_twice : forall (A B C : Type) (f : A -> B) (g : B -> C) (l : list A),
  map g (map f l) = map (fun x => g (f x)) l.
Proof.
  intros A B C f g l.
  induction l as [| x l IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: The reverse of a list with one element is the list.
   wrong: intros A x.
   pass_rate: 0
   difficulty: hard *)
Theorem reverse_one : forall (A : Type) (x : A), rev [x] = [x].
Proof.
  intros A x.
  reflexivity.
Qed.

(* task: The reverse of two lists together is the reverse of the second one and that of the first.
   wrong: intros A a b. induction a. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem reverse_append : forall (A : Type) (a b : list A), rev (a ++ b) = rev b ++ rev a.
Proof.
  intros A a b.
  apply rev_app_distr.
Qed.

(* task: Reversing a list twice gives the list itself.
   wrong: intros A l. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem reverse_twice : forall (A : Type) (l : list A), rev (rev l) = l.
Proof.
  intros A l.
  apply rev_involutive.
Qed.

(* task: The first element of a list is in it.
   wrong: intros A x l. reflexivity.
   wrong: intros A x l. simpl. right. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem first_is_in : forall (A : Type) (x : A) (l : list A), In x (x :: l).
Proof.
  intros A x l.
  simpl.
  left.
  reflexivity.
Qed.

(* task: What is in a list is also in the list with one element more.
   wrong: intros A x y l H. left. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem in_longer : forall (A : Type) (x y : A) (l : list A), In x l -> In x (y :: l).
Proof.
  intros A x y l H.
  simpl.
  right.
  exact H.
Qed.

(* task: Nothing is in the empty list.
   wrong: intros A x. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem nothing_in_nil : forall (A : Type) (x : A), ~ In x [].
Proof.
  intros A x H.
  simpl in H.
  exact H.
Qed.

(* task: A list with an element is not empty.
   wrong: intros A x l. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem not_empty : forall (A : Type) (x : A) (l : list A), x :: l <> [].
Proof.
  intros A x l H.
  discriminate H.
Qed.

(* task: Lists that begin with equal elements and go on with equal lists are equal.
   wrong: intros A x y a b H. rewrite H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem equal_lists : forall (A : Type) (x y : A) (a b : list A), x = y -> a = b -> x :: a = y :: b.
Proof.
  intros A x y a b H1 H2.
  rewrite H1, H2.
  reflexivity.
Qed.
